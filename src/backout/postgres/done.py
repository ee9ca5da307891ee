"""Marks of what was done: a row in the target, written in the transaction of the effect that it marks."""

from __future__ import annotations

from psycopg import sql

from backout.postgres.connect import Session
from backout.postgres.names import STATE_SCHEMA

_TABLE = sql.Identifier(STATE_SCHEMA, "done")


def ensure(session: Session) -> None:
    """Make the table of marks; the schema is there (see `kept_tables.ensure_schema`)."""
    session.execute(
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS {} (key text PRIMARY KEY,"
            " at timestamptz NOT NULL DEFAULT pg_catalog.now())"
        ).format(_TABLE)
    )


def once(session: Session, key: str) -> bool:
    """Write a mark inside the caller's transaction; False when it is there already: the effect happened."""
    query = sql.SQL("INSERT INTO {} (key) VALUES (%s) ON CONFLICT DO NOTHING").format(_TABLE)
    return session.execute(query, (key,)).rowcount == 1


def count(session: Session, prefix: str) -> int:
    """How many marks begin with `prefix`; 0 when there is no table."""
    if session.execute("SELECT pg_catalog.to_regclass('backout.done')").fetchone() == (None,):
        return 0
    query = sql.SQL("SELECT count(*) FROM {} WHERE pg_catalog.starts_with(key, %s)").format(_TABLE)
    row = session.execute(query, (prefix,)).fetchone()
    return int(row[0]) if row else 0
