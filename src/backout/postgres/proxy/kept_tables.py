"""The schemas and the manifest that keeping needs in the target: made by the caller, before the tool runs."""

from __future__ import annotations

from psycopg import sql

from backout.postgres.connect import Session
from backout.postgres.names import KEPT_SCHEMA, STATE_SCHEMA

_MANIFEST = sql.Identifier(KEPT_SCHEMA, "manifest")
_COLUMNS = """
    incident text NOT NULL,
    seq integer NOT NULL,
    relation text NOT NULL,
    oid oid NOT NULL,
    how text NOT NULL,
    key_columns text[] NOT NULL,
    columns text[] NOT NULL,
    rows bigint NOT NULL,
    kept_values bigint NOT NULL,
    xid text NOT NULL,
    lsn pg_catalog.pg_lsn,
    at timestamptz NOT NULL,
    kept_table text NOT NULL,
    destroyed_values bigint,
    PRIMARY KEY (incident, seq)"""


GRANTEES = """SELECT DISTINCT coalesce(r.rolname, '') FROM pg_catalog.pg_class c
CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) a
LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
WHERE c.oid = pg_catalog.to_regclass({name}) AND a.grantee <> c.relowner"""
"""Who got rights on a table of ours by default privileges; an empty name is PUBLIC."""


def ensure_schema(session: Session, role: str = "") -> None:
    """Create the schemas `backout` and `backout_kept` and the manifest where they are missing.

    `role` (the tool's, when it is not the session's own) gets what keeping needs: create tables in
    `backout_kept` and write the manifest. Idempotent; needs CREATE in the database only when a schema is
    missing. Raises psycopg's `InsufficientPrivilege` when the role may not.
    """
    with session.transaction():
        for schema in (STATE_SCHEMA, KEPT_SCHEMA):
            _create_schema(session, schema)
        if session.execute("SELECT pg_catalog.to_regclass('backout_kept.manifest')").fetchone() == (None,):
            session.execute(sql.SQL("CREATE TABLE {} (" + _COLUMNS + ")").format(_MANIFEST))
            session.execute(sql.SQL("REVOKE ALL ON {} FROM PUBLIC").format(_MANIFEST))
        elif not _counts_destroyed(session):  # made by an earlier version
            session.execute(sql.SQL("ALTER TABLE {} ADD COLUMN destroyed_values bigint").format(_MANIFEST))
        if role and role != session.info.user:
            _grant(session, role)


def _counts_destroyed(session: Session) -> bool:
    row = session.execute(
        """SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute a
                          WHERE a.attrelid = 'backout_kept.manifest'::pg_catalog.regclass
                            AND a.attname = 'destroyed_values' AND NOT a.attisdropped)"""
    ).fetchone()
    return bool(row and row[0])


def _create_schema(session: Session, schema: str) -> None:
    # CREATE SCHEMA IF NOT EXISTS demands the right to create even where there is nothing to do
    there = session.execute("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", (schema,)).fetchone()
    if there is None:
        session.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        session.execute(sql.SQL("REVOKE ALL ON SCHEMA {} FROM PUBLIC").format(sql.Identifier(schema)))


def _grant(session: Session, role: str) -> None:
    grantee, schema = sql.Identifier(role), sql.Identifier(KEPT_SCHEMA)
    session.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(schema, grantee))
    session.execute(sql.SQL("GRANT SELECT, INSERT ON {} TO {}").format(_MANIFEST, grantee))
