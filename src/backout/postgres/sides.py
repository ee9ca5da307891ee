"""What a cutover reads of its two sides before anything is held."""

from __future__ import annotations

import psycopg

from backout.errors import BackoutError
from backout.postgres import fence, roles, sequences
from backout.postgres.connect import Session

_LASTING = ("fsync", "full_page_writes", "synchronous_commit", "wal_level")


def prepared_transactions(session: Session, database: str) -> int:
    """Transactions that survive every fence and can be committed later by anybody."""
    row = session.execute(
        "SELECT count(*) FROM pg_catalog.pg_prepared_xacts WHERE database = %s", (database,)
    ).fetchone()
    return int(row[0]) if row else 0


def is_superuser(dsn: str) -> bool:
    with psycopg.connect(dsn, connect_timeout=5, application_name="backout/look/0") as session:
        return roles.is_superuser(session)


def refusal_of(dsn: str) -> str:
    """Why a login is refused; a full (fenced) database answers after the password was accepted."""
    try:
        psycopg.connect(dsn, connect_timeout=5, application_name="backout/look/0").close()
    except psycopg.OperationalError as error:
        return "" if fence.refused_as_full(error) else str(error).strip().splitlines()[-1]
    return ""


def rights_missing(session: Session, database: str) -> str:
    """Why fence and unfence cannot be proved; empty when they are."""
    try:
        fence.prove_rights(session, database)
    except BackoutError as error:
        return error.what
    except psycopg.Error as error:
        return error.diag.message_primary or type(error).__name__
    return ""


def lasting_settings(session: Session) -> tuple[tuple[str, str], ...]:
    rows = session.execute(
        "SELECT name::text, setting::text FROM pg_catalog.pg_settings WHERE name = ANY(%s) ORDER BY 1",
        (list(_LASTING),),
    ).fetchall()
    return tuple((name, value) for name, value in rows)


def unanalyzed(session: Session) -> int:
    row = session.execute(
        """SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE c.relkind = 'r' AND n.nspname !~ '^(pg_|information_schema$|backout)'
             AND pg_catalog.pg_relation_size(c.oid) > 0
             AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_stats s
                             WHERE s.schemaname = n.nspname AND s.tablename = c.relname)"""
    ).fetchone()
    return int(row[0]) if row else 0


def missing_sequences(old: Session, new: Session) -> tuple[str, ...]:
    here = {(schema, name) for schema, name, _ in sequences.positions(new)}
    return tuple(f"{s}.{n}" for s, n, _ in sequences.positions(old) if (s, n) not in here)
