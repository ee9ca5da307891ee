"""Marks of what was done: a row in the target, written in the transaction of the effect that it marks."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql
from psycopg.types.json import Jsonb

from backout.postgres.connect import Session
from backout.postgres.names import STATE_SCHEMA

_TABLE = sql.Identifier(STATE_SCHEMA, "done")


def ensure(session: Session) -> None:
    """Make the table of marks; the schema is there (see `kept_tables.ensure_schema`)."""
    session.execute(
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS {} (key text PRIMARY KEY,"
            " at timestamptz NOT NULL DEFAULT pg_catalog.now(), figures jsonb)"
        ).format(_TABLE)
    )
    session.execute(sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS figures jsonb").format(_TABLE))


def once(session: Session, key: str) -> bool:
    """Write a mark inside the caller's transaction; False when it is there already: the effect happened."""
    query = sql.SQL("INSERT INTO {} (key) VALUES (%s) ON CONFLICT DO NOTHING").format(_TABLE)
    return session.execute(query, (key,)).rowcount == 1


def tell(session: Session, key: str, figures: Mapping[str, int]) -> None:
    """Add to a mark what its effect was, inside the same transaction: a resumed run counts it too."""
    query = sql.SQL("UPDATE {} SET figures = %s WHERE key = %s").format(_TABLE)
    session.execute(query, (Jsonb(dict(figures)), key))


def total(session: Session, prefix: str) -> dict[str, int]:
    """The sum of the figures of all marks whose key begins with `prefix`."""
    query = sql.SQL(
        """SELECT f.key, pg_catalog.sum(f.value::bigint)::bigint
           FROM {} d, pg_catalog.jsonb_each_text(d.figures) f
           WHERE pg_catalog.starts_with(d.key, %s) GROUP BY f.key"""
    ).format(_TABLE)
    return dict(session.execute(query, (prefix,)).fetchall())
