"""One scratch server a version and test session."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from backout.adapters.servers.local import LocalServers
from backout.postgres import copies
from backout.postgres.connect import open_session
from backout.postgres.source_facts import read_source_facts
from backout.testing.servers import RealServer
from tests.snapshot.helpers import AWKWARD, NAME, Bench


@pytest.fixture(scope="session")
def shared_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServers]:
    servers = LocalServers(tmp_path_factory.mktemp("state"))
    yield servers
    for scratch in servers.running():
        servers.destroy(scratch)


@pytest.fixture
def bench(pg: RealServer, shared_servers: LocalServers) -> Iterator[Bench]:
    """Source and scratch server of each version; the copies that a test made are gone after it."""
    with open_session(pg.dsn("postgres"), NAME) as session:
        facts = read_source_facts(session)
    bench = Bench(pg, shared_servers, shared_servers.start(facts))
    yield bench
    for copy in copies.list_copies(bench.dsn, bench.scratch.name):
        copies.destroy(bench.scratch, bench.dsn, copy.database)


def _drop_roles(bench: Bench) -> None:
    with bench.source.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS snapshot_owner, snapshot_reader")


@pytest.fixture
def awkward(bench: Bench) -> Iterator[str]:
    """A database with everything that a dump may trip over."""
    with bench.source.database() as name:
        _drop_roles(bench)
        with bench.source.connect(name) as admin:
            admin.execute(AWKWARD.encode())
        yield name
    _drop_roles(bench)


@pytest.fixture
def source(bench: Bench, awkward: str) -> Iterator[psycopg.Connection]:
    with bench.source.connect(awkward) as opened:
        yield opened
