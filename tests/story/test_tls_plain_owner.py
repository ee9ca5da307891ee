"""The whole story as a role that owns its schema and tables and nothing else, over TLS that is demanded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trustme

from backout.app import incidents
from backout.model.execution import Outcome
from backout.testing.servers import RealServer, available_majors, has_tls, start_server, stop_server
from tests.story.harness import World, apply_names, names_world, world

HBA = "hostssl all all 127.0.0.1/32 scram-sha-256\nhostnossl all all 127.0.0.1/32 reject\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_server(authority: trustme.CA) -> Iterator[RealServer]:
    major = next((m for m in available_majors() if has_tls(m)), None)
    if major is None:
        pytest.skip("no PostgreSQL with TLS on this machine: apt-get install postgresql")
    issued = authority.issue_cert("localhost")
    files = {
        "server.crt": issued.cert_chain_pems[0].bytes(),
        "server.key": issued.private_key_pem.bytes(),
    }
    server = start_server(major, hba=HBA, settings={"ssl": "on"}, files=files)
    yield server
    stop_server(server)


@pytest.fixture
def heroes_over_tls(
    tls_server: RealServer,
    authority: trustme.CA,
    tmp_path: Path,
    shared_scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    (tmp_path / "state").mkdir()
    (shared_scratch / "copies").mkdir(exist_ok=True)
    (tmp_path / "state" / "copies").symlink_to(shared_scratch / "copies")
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    monkeypatch.setenv("PGSSLMODE", "require")
    with world(tls_server, tmp_path, monkeypatch) as made:
        verified = (
            f"host=localhost port={tls_server.port} dbname={made.database} user={made.owner} password=x"
        )
        monkeypatch.setenv("HEROES_DSN", f"{verified} sslmode=verify-full sslrootcert={tmp_path / 'ca.pem'}")
        yield made


def test_a_plain_owner_backs_out_over_tls(heroes_over_tls: World):
    names_world(heroes_over_tls)
    apply_names(heroes_over_tls)
    # What an administrator ran once: the role itself may not create schemas in the database.
    with heroes_over_tls.server.connect(heroes_over_tls.database) as admin:
        admin.execute(f"CREATE SCHEMA backout AUTHORIZATION {heroes_over_tls.owner}")
        admin.execute(f"CREATE SCHEMA backout_kept AUTHORIZATION {heroes_over_tls.owner}")
        admin.execute(f"ALTER DATABASE {heroes_over_tls.database} OWNER TO postgres")
        row = admin.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles"
            " WHERE rolname = %s",
            (heroes_over_tls.owner,),
        ).fetchone()
    assert row == (False, False, False, False, False)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(heroes_over_tls.dsn, sslmode="disable")
    incident = heroes_over_tls.open()
    proposed = incidents.propose(heroes_over_tls.desk(), incident)
    assert proposed.rehearsals[0].kept_values == 1001
    heroes_over_tls.approve(incident, strategy="A", accepts=("users.full_name",))
    ran = incidents.run(heroes_over_tls.desk(), incident, {}, 0)
    assert ran.execution.outcome is Outcome.BACKED_OUT
    assert (ran.execution.values_destroyed, ran.execution.values_kept) == (1001, 1001)
    assert all(check.good for check in ran.verification.checks)
