"""Each tool against a server that demands TLS and a password, as the proxy does when the target does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from psycopg.conninfo import make_conninfo

from backout.adapters.migrator import alembic, node_pg_migrate, sql_pairs
from backout.errors import NeighbourUnreachable
from backout.ports.migrator import Migrator
from backout.postgres.proxy.policy import Policy
from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream
from backout.testing.migrator_contract import SECONDS, MigratorWorld
from backout.testing.servers import RealServer, available_majors, has_tls, start_server, stop_server
from tests.migrators.test_alembic import COMMAND
from tests.migrators.worlds import node_modules, project_of, world_of

HBA = "hostssl all all 127.0.0.1/32 scram-sha-256\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority: trustme.CA) -> Iterator[RealServer]:
    able = [major for major in available_majors() if has_tls(major)]
    if not able:
        pytest.skip("no PostgreSQL with TLS on this machine")
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    files = {
        "server.key": certificate.private_key_pem.bytes(),
        "server.crt": b"".join(blob.bytes() for blob in certificate.cert_chain_pems),
    }
    started = start_server(able[0], hba=HBA, settings={"ssl": "on"}, files=files)
    yield started
    stop_server(started)


@pytest.fixture(params=["node-pg-migrate", "sql", "alembic"])
def world(
    request: pytest.FixtureRequest,
    server: RealServer,
    authority: trustme.CA,
    tmp_path: Path,
    bytecode: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[MigratorWorld]:
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(bytecode))
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    fixtures: dict[str, tuple[str, Callable[[Path], Migrator]]] = {
        "node-pg-migrate": (
            "node_project",
            lambda p: node_pg_migrate.from_settings(p, {"config": "database/migration-config.js"}),
        ),
        "sql": ("dbmate_project", lambda p: sql_pairs.from_settings(p, {})),
        "alembic": ("alembic_project", lambda p: alembic.from_settings(p, {"command": COMMAND})),
    }
    fixture, make = fixtures[request.param]
    project = project_of(fixture, tmp_path, node_modules() if request.param == "node-pg-migrate" else None)
    with world_of(server, project, tmp_path / "private", names=(), configuration=".env", make=make) as made:
        yield replace(made, endpoint=replace(made.endpoint, ca_file=ca_file))


def test_the_tool_goes_through_the_proxy_over_tls_on_both_sides(
    world: MigratorWorld, monkeypatch: pytest.MonkeyPatch
):
    theirs = world.private / "theirs.pem"
    trustme.CA().cert_pem.write_to_path(str(theirs))
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(theirs))
    end = world.endpoint
    dsn = make_conninfo(
        host=end.host,
        port=end.port,
        dbname=end.database,
        user=end.user,
        password=end.password,
        sslmode="verify-full",
        sslrootcert=str(end.ca_file),
    )
    with Proxy(Policy(), Upstream(dsn), tls=True) as proxy:
        pointed = replace(world, endpoint=proxy.endpoint)
        migrator = pointed.make()
        pointed.apply(migrator, 1)
        came = len(proxy.sessions)
        result = migrator.unapply(1, pointed.environment(migrator), SECONDS)
        assert 0 < came < len(proxy.sessions), result.output
    assert world.history(migrator) == ()


def test_another_authority_is_not_accepted(world: MigratorWorld, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NODE_TLS_REJECT_UNAUTHORIZED", "0")
    other = world.private / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    migrator = world.make()
    environment = migrator.redirect(replace(world.endpoint, ca_file=other), world.private)
    if migrator.name == "sql":
        with pytest.raises(NeighbourUnreachable, match="certificate verify failed"):
            migrator.apply(1, environment, SECONDS)
    else:
        assert migrator.apply(1, environment, SECONDS).exit_code != 0
    assert world.history(migrator) == ()
