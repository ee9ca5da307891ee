"""The whole story as a role that owns its schema and tables and nothing else, over TLS that is demanded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trustme

from backout.app import incidents
from backout.model.execution import Outcome
from backout.testing.servers import RealServer
from tests.story.harness import World, apply_names, names_world, world


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


@pytest.mark.proves(
    claim="Strategy A as a role that owns its schema and nothing else",
    on="a server that demands TLS (verify-full), one machine, loopback",
    rights="plain owner",
    versions="the system's",
    size="1,001 rows",
)
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
