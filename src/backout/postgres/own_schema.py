"""The schema of ours in a database that was restored: from our superuser there to the tool's own role."""

from __future__ import annotations

from psycopg import sql

from backout.postgres.connect import Session
from backout.postgres.names import KEPT_SCHEMA, STATE_SCHEMA


def hand_over(session: Session, role: str) -> None:
    """Let `role` own our schemas and what is in them. Idempotent; a role that is not there is left out."""
    known = session.execute("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %s", (role,)).fetchone()
    if known is None:
        return
    owner = sql.Identifier(role)
    for schema in (STATE_SCHEMA, KEPT_SCHEMA):
        there = session.execute("SELECT pg_catalog.to_regnamespace(%s) IS NOT NULL", (schema,)).fetchone()
        if there == (True,):
            session.execute(sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(sql.Identifier(schema), owner))
            for name in _tables(session, schema):
                table = sql.Identifier(schema, name)
                session.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(table, owner))


def _tables(session: Session, schema: str) -> tuple[str, ...]:
    rows = session.execute(
        "SELECT tablename::text FROM pg_catalog.pg_tables WHERE schemaname = %s ORDER BY 1", (schema,)
    ).fetchall()
    return tuple(row[0] for row in rows)
