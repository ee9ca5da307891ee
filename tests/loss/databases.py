"""Pairs of databases for tests: one is prepared, cloned, changed, and the two are compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex

from psycopg import sql

from backout.postgres.connect import Session, open_session
from backout.testing.servers import RealServer


@contextmanager
def session_of(server: RealServer, database: str) -> Iterator[Session]:
    """A pinned session of ours, as the tool itself opens them."""
    session = open_session(server.layout.conninfo(database), "backout/test/1")
    try:
        yield session
    finally:
        session.close()


@contextmanager
def siblings(server: RealServer, setup: str, change: str) -> Iterator[tuple[Session, Session]]:
    """Two sessions: on a database after `setup`, and on a clone of it after `change` too."""
    with server.database() as original:
        run(server, original, setup)
        with pair(server, original, change) as both:
            yield both


@contextmanager
def pair(server: RealServer, original: str, change: str) -> Iterator[tuple[Session, Session]]:
    """Sessions on a database and on a clone of it after `change`."""
    with (
        clone(server, original, change) as changed,
        session_of(server, original) as before,
        session_of(server, changed) as after,
    ):
        yield before, after


@contextmanager
def clone(server: RealServer, original: str, change: str) -> Iterator[str]:
    """A clone of a database after `change`; nobody may be connected to the original at this moment."""
    name = f"t_{token_hex(5)}"
    make = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(original))
    with server.connect() as admin:
        admin.execute(make)
    try:
        run(server, name, change)
        yield name
    finally:
        with server.connect() as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def run(server: RealServer, database: str, statements: str) -> None:
    """Run statements in a session of their own, as an application or a tool would."""
    with server.connect(database) as session:
        session.execute(statements)
