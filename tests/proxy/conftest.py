"""A role that owns its database and nothing else; servers that demand TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trustme
from psycopg import sql

from backout.testing.servers import RealServer, available_majors, has_tls
from tests.proxy.secure import started

OWNER = "tool_owner"


def ensure_owner(server: RealServer) -> None:
    with server.connect() as admin:
        if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (OWNER,)).fetchone():
            admin.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'owner-secret'").format(sql.Identifier(OWNER))
            )


@pytest.fixture
def dsn(pg: RealServer) -> Iterator[str]:
    """DSN of a fresh database as the role that owns it and nothing else."""
    ensure_owner(pg)
    with pg.database(OWNER) as name:
        yield pg.dsn(name, OWNER, "owner-secret")


@pytest.fixture
def direct(dsn: str) -> Iterator[psycopg.Connection]:
    """An autocommit session past the proxy, as the application would have it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who signed the server's certificate and those of its clients."""
    return trustme.CA()


@pytest.fixture(scope="session")
def trusted(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    path.write_bytes(authority.cert_pem.bytes())
    return path


_ABLE: list[int | None] = [major for major in available_majors() if has_tls(major)]


@pytest.fixture(scope="module", params=_ABLE or [None])
def secure(request: pytest.FixtureRequest, authority: trustme.CA) -> Iterator[RealServer]:
    """A server that demands TLS, of each version on this machine that was built with it."""
    if request.param is None:
        pytest.skip("no PostgreSQL with TLS on this machine: apt-get install postgresql")
    with started(request.param, authority) as server:
        yield server
