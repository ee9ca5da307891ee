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
    clone = f"t_{token_hex(5)}"
    with server.database() as original:
        with server.connect(original) as app:
            app.execute(setup)
        with server.connect() as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(clone), sql.Identifier(original)
                )
            )
        try:
            with server.connect(clone) as tool:
                tool.execute(change)
            with session_of(server, original) as before, session_of(server, clone) as after:
                yield before, after
        finally:
            with server.connect() as admin:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(clone)))
