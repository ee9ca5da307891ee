"""A role that owns its database and nothing else, and the proxy in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from backout.testing.servers import RealServer

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
