"""A project whose first migration creates an extension, on a production that demands TLS: adopted with the
user's own scratch server; without one, doctor, open and propose say what is missing and what mends it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from backout.adapters.servers import local
from backout.adapters.servers.named import NamedServer
from backout.model.check import CheckState
from backout.postgres.binaries import Binaries, installations
from backout.postgres.connect import open_session
from backout.postgres.dump_preflight import preflight
from backout.postgres.servers import private_directory
from backout.postgres.source_facts import read_source_facts
from backout.testing import servers as testing
from backout.testing.servers import RealServer, start_server, stop_server
from tests.migrators.worlds import node_modules
from tests.story.harness import PEOPLE, World, world
from tests.story.test_node_project import up

NAME = "backout/test/1"
EXTENSION = """exports.up = (pgm) => { pgm.createExtension('pgcrypto', { ifNotExists: true }); };
exports.down = (pgm) => { pgm.dropExtension('pgcrypto'); };
"""
ACCOUNTS = """exports.up = (pgm) => {
  pgm.createTable('accounts', {
    id: { type: 'uuid', primaryKey: true, default: pgm.func('gen_random_uuid()') },
    email: { type: 'text', notNull: true },
    token: { type: 'text', default: pgm.func("encode(gen_random_bytes(12), 'hex')") },
  });
  pgm.createIndex('accounts', "digest(email, 'sha256')", { name: 'accounts_digest' });
};
exports.down = (pgm) => { pgm.dropTable('accounts'); };
"""
BAD = """exports.up = (pgm) => {
  pgm.addColumn('accounts', { nickname: { type: 'text', check: "nickname <> ''" } });
};
exports.down = (pgm) => { pgm.dropColumn('accounts', 'nickname'); };
"""
MIGRATIONS = {"1_extensions": EXTENSION, "2_accounts": ACCOUNTS, "3_nicknames": BAD}


@pytest.fixture
def vault(
    tls_server: RealServer, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Adopted as its README says; the bad migration is applied, 100 values lie in its column."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("PGSSLMODE", "require")
    with world(tls_server, tmp_path, monkeypatch) as made:
        prepared(made, monkeypatch, over_tls(tls_server, made.database, made.owner, tmp_path))
        yield made


def over_tls(server: RealServer, database: str, user: str, root: Path) -> str:
    where = f"postgresql://{user}:x@localhost:{server.port}/{database}"
    return f"{where}?sslmode=verify-full&sslrootcert={root / 'ca.pem'}"


def prepared(made: World, monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    monkeypatch.chdir(made.root)
    (made.root / "node_modules").symlink_to(node_modules())
    (made.root / "package.json").write_text(json.dumps({"name": "vault", "private": True}))
    (made.root / "migrations").mkdir()
    for name, text in MIGRATIONS.items():
        (made.root / "migrations" / f"{name}.js").write_text(text)
    with made.server.connect(made.database) as admin:
        admin.execute("CREATE EXTENSION pgcrypto")  # the administrator's part; the role is a plain owner
    made.tool = "node-pg-migrate"
    made.write_config()
    config = made.root / "backout.toml"
    config.write_text(config.read_text().replace("users", "accounts"))
    monkeypatch.setenv("HEROES_DSN", dsn)
    done = up(made, dsn)
    assert done.returncode == 0, done.stderr
    with made.connect() as session:
        session.execute("INSERT INTO accounts (email, nickname) SELECT i, i FROM generate_series(1, 100) i")


def name_scratch(made: World, monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    """What the message says: one line in backout.toml, and the variable."""
    monkeypatch.setenv("SCRATCH_DATABASE_URL", dsn)
    file = made.root / "backout.toml"
    line = 'scratch = { env = "SCRATCH_DATABASE_URL" }'
    file.write_text(file.read_text().replace("[target.heroes.snapshot]", f"[target.heroes.snapshot]\n{line}"))


def by_two_people(made: World, capsys: pytest.CaptureFixture[str], incident: str) -> None:
    for person in PEOPLE:
        signed = ("--as", person, "--key", str(made.keys[person]), "--confirm", "heroes")
        code, document, _ = made.cli(capsys, "approve", incident, *signed)
        assert code == 0, document


def checks(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in document["checks"]}


@pytest.mark.node
def test_the_whole_story_with_a_scratch_server_of_the_users_own(
    vault: World,
    own_scratch: RealServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    name_scratch(vault, monkeypatch, over_tls(own_scratch, "postgres", "copier", vault.root))
    code, document, _ = vault.cli(capsys, "doctor")
    assert code == 0, document
    code, document, _ = vault.cli(capsys, "open")
    assert (code, document["triage"]["captured"]) == (0, "captured on a schema-only copy")
    incident = document["incident"]["id"]
    code, document, _ = vault.cli(capsys, "propose", incident)
    assert (code, document["proposals"]["recommended"]) == (4, "A")
    by_two_people(vault, capsys, incident)
    code, document, err = vault.cli(capsys, "run", incident, "--watch", "0s")
    assert code == 0, err
    assert (document["execution"]["values_destroyed"], document["execution"]["values_kept"]) == (100, 100)
    assert vault.cli(capsys, "verify", incident)[0] == 0
    assert vault.cli(capsys, "postmortem", incident)[0] == 0
    assert vault.cli(capsys, "close", incident)[0] == 0
    with own_scratch.connect() as session:
        left = session.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'backout%'").fetchone()
    assert left == (0,)


def without_pgcrypto(binaries: Binaries, base: Path) -> Binaries:
    """The same programs, as from a package without contrib: PostgreSQL finds its files beside them."""
    lib, share = base / "lib/postgresql", base / "share/postgresql"
    if binaries.directory != Path(f"/usr/lib/postgresql/{binaries.major}/bin"):
        pytest.skip("needs the server programs of Debian's package: apt-get install postgresql")
    shutil.copytree(binaries.directory.parent, lib / str(binaries.major))
    shutil.copytree(f"/usr/share/postgresql/{binaries.major}", share / str(binaries.major))
    for file in (share / str(binaries.major) / "extension").glob("pgcrypto*"):
        file.unlink()
    return replace(binaries, directory=lib / str(binaries.major) / "bin")


@pytest.fixture(scope="module")
def bare(tls_server: RealServer) -> Iterator[Binaries]:
    base = private_directory("bk")
    yield without_pgcrypto(tls_server.layout.binaries, base)
    shutil.rmtree(base)


def others(major: int) -> tuple[Binaries, ...]:
    return tuple(there for there in installations() if there.major != major)


LACKING = {
    "no programs of its version": ("scratch server version", "no PostgreSQL {} server programs"),
    "no contrib": ("scratch extension pgcrypto", "pgcrypto .* is not available on the scratch server"),
}


@pytest.mark.node
@pytest.mark.parametrize("lacking", LACKING)
def test_without_a_scratch_server_it_is_said_what_is_missing_and_once_mended_it_goes_on(
    vault: World,
    own_scratch: RealServer,
    bare: Binaries,
    lacking: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    major = vault.server.major
    here = others(major) if lacking != "no contrib" else (*others(major), bare)
    monkeypatch.setattr(local, "installations", lambda: here)
    name, detail = LACKING[lacking]
    mend = (
        f"apt-get install postgresql-{major}; or name a scratch server in backout.toml, "
        'under [target.heroes.snapshot]: scratch = { env = "SCRATCH_DATABASE_URL" }'
    )
    code, document, _ = vault.cli(capsys, "doctor")
    assert code == 1
    red = checks(document)[name]
    assert (red["state"], red["mend"]) == ("fail", mend)
    code, document, _ = vault.cli(capsys, "open")
    assert code == 0
    assert document["triage"]["captured"].endswith(mend)
    incident = document["incident"]["id"]
    code, document, _ = vault.cli(capsys, "propose", incident)
    assert (code, document["next"]) == (3, mend)
    assert re.search(detail.format(major), document["what"])
    name_scratch(vault, monkeypatch, over_tls(own_scratch, "postgres", "copier", vault.root))
    code, document, _ = vault.cli(capsys, "propose", incident)
    assert code == 4
    assert document["triage"]["captured"] == "captured on a schema-only copy"


@pytest.fixture
def bare_server(bare: Binaries, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealServer]:
    with monkeypatch.context() as patched:
        patched.setattr(testing, "installations", lambda: (bare,))
        server = start_server(bare.major)
    with server.connect() as admin:
        admin.execute("CREATE ROLE copier LOGIN PASSWORD 'x' CREATEDB CREATEROLE")
    yield server
    stop_server(server)


@pytest.mark.node
def test_the_own_scratch_server_lacks_the_extension(
    vault: World,
    bare_server: RealServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.delenv("PGSSLMODE")
    name_scratch(vault, monkeypatch, bare_server.dsn("postgres", "copier", "x"))
    mend = (
        f"on the machine of the scratch server: apt-get install postgresql-{bare_server.major}; "
        "or name another scratch server"
    )
    code, document, _ = vault.cli(capsys, "doctor")
    assert (code, checks(document)["scratch extension pgcrypto"]["mend"]) == (1, mend)
    incident = vault.open()
    code, document, _ = vault.cli(capsys, "propose", incident)
    assert (code, document["next"]) == (3, mend)


def test_an_extension_for_superusers_only_is_said_before(own_scratch: RealServer):
    dsn = own_scratch.dsn("postgres", "copier", "x")
    with open_session(dsn, NAME) as session:
        facts = replace(read_source_facts(session), extensions=(("pageinspect", "1.11"), ("citext", "1.6")))
    found = {check.name: check for check in NamedServer(lambda: dsn).fit(facts, 0)}
    assert found["extension pageinspect"].state is CheckState.FAIL
    assert found["extension pageinspect"].mend.startswith("ALTER ROLE copier SUPERUSER;")
    assert found["extension citext"].state is CheckState.PASS


def test_client_programs_without_tls_are_said_before_they_are_needed(own_scratch: RealServer):
    wheel = next((there for there in installations() if there.origin == "wheel"), None)
    assert wheel is not None
    with open_session(own_scratch.dsn("postgres", "copier", "x"), NAME) as session:
        (program, *_) = preflight(session, wheel)
    assert program.state is CheckState.FAIL
    assert "was built without it" in program.detail
    assert program.mend == f"apt-get install postgresql-client-{own_scratch.major}"
