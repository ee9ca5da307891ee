"""Whole old rows in the log of the way back, for as long as it is armed.

With the default identity an update tells the new row and the key: what the application changed cannot be told
from what it left alone, and each of its updates would carry back every value that the old schema has no place
for. Tables whose identity was changed are noted in the comment of the publication, so that whoever drops the
way back finds them.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from backout.postgres.connect import Session
from backout.postgres.names import FULL_NOTE

_WAIT = "2s"
"""The longest wait for one table; who holds it longer leaves it as it is."""


def see(session: Session, publication: str) -> None:
    """Set REPLICA IDENTITY FULL on every published table with the default one. Idempotent.

    Left out are tables with generated columns: from PostgreSQL 18 on their updates would fail.
    """
    noted = _noted(session, publication)
    if noted is None:
        noted = _default(session, publication)
        text = FULL_NOTE + ",".join(map(str, noted))
        session.execute(
            sql.SQL("COMMENT ON PUBLICATION {} IS {}").format(sql.Identifier(publication), sql.Literal(text))
        )
    for oid in noted:
        _alter(session, oid, "d", "FULL")


def forget(session: Session, publication: str) -> None:
    """Set the default identity again where ours still stands; a table that somebody holds keeps FULL, which
    costs WAL and nothing else. Idempotent."""
    for oid in _noted(session, publication) or ():
        _alter(session, oid, "f", "DEFAULT")


def _noted(session: Session, publication: str) -> tuple[int, ...] | None:
    """Tables of the comment; None while there is no comment or publication."""
    row = session.execute(
        """SELECT pg_catalog.obj_description(oid, 'pg_publication') FROM pg_catalog.pg_publication
           WHERE pubname = %s""",
        (publication,),
    ).fetchone()
    if row is None:
        return ()
    if row[0] is None or not row[0].startswith(FULL_NOTE):
        return None
    return tuple(int(oid) for oid in row[0].removeprefix(FULL_NOTE).split(",") if oid)


def _default(session: Session, publication: str) -> tuple[int, ...]:
    rows = session.execute(
        """SELECT c.oid::bigint FROM pg_catalog.pg_publication_rel r
           JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
           JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
           WHERE p.pubname = %s AND c.relreplident = 'd' AND NOT EXISTS (
             SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attgenerated <> '')
           ORDER BY 1""",
        (publication,),
    ).fetchall()
    return tuple(row[0] for row in rows)


def _alter(session: Session, oid: int, only_from: str, to: str) -> None:
    found = session.execute(
        """SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE c.oid = %s AND c.relreplident::text = %s""",
        (oid, only_from),
    ).fetchone()
    if found is None:
        return
    try:
        with session.transaction():
            session.execute("SELECT pg_catalog.set_config('lock_timeout', %s, true)", (_WAIT,))
            session.execute(
                sql.SQL("ALTER TABLE {} REPLICA IDENTITY {}").format(sql.Identifier(*found), sql.SQL(to))
            )
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
        return
