"""REPLICA IDENTITY FULL where it was approved, and every identity put back as it was found."""

from __future__ import annotations

from psycopg import sql

from backout.model.guard import Identity
from backout.postgres.builds import holders
from backout.postgres.capture.patience import Patience, patiently
from backout.postgres.connect import Session
from backout.postgres.names import qualified


def make_full(session: Session, identity: Identity, patience: Patience) -> None:
    """Set FULL on one table or leaf, unless it is there already."""
    found = _now(session, identity.oid)
    if found is not None and found[2] != "f":
        _alter(session, found, sql.SQL("FULL"), patience)


def put_back(session: Session, identity: Identity, patience: Patience) -> str:
    """Set what was found before. Only where our FULL still stands: what somebody chose since stays.

    Returns what was done, empty when there was nothing to do.
    """
    found = _now(session, identity.oid)
    if found is None or found[2] != "f":
        return ""
    how, note = _as_it_was(session, identity)
    _alter(session, found, how, patience)
    return f"replica identity of {qualified(found[0], found[1])}{note}"


def _as_it_was(session: Session, identity: Identity) -> tuple[sql.Composable, str]:
    if identity.before == "n":
        return sql.SQL("NOTHING"), ""
    if identity.before != "i":
        return sql.SQL("DEFAULT"), ""
    there = session.execute(
        """SELECT 1 FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
           WHERE i.indrelid = %s AND c.relname = %s AND i.indisvalid""",
        (identity.oid, identity.index),
    ).fetchone()
    if there is None:
        return sql.SQL("DEFAULT"), f" (its index {identity.index} is gone: DEFAULT)"
    return sql.SQL("USING INDEX {}").format(sql.Identifier(identity.index)), ""


def _now(session: Session, oid: int) -> tuple[str, str, str] | None:
    """(schema, name, relreplident): a migration may have renamed the table, or dropped it."""
    row = session.execute(
        """SELECT n.nspname::text, c.relname::text, c.relreplident::text
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE c.oid = %s AND c.relkind = 'r'""",
        (oid,),
    ).fetchone()
    return (row[0], row[1], row[2]) if row else None


def _alter(session: Session, table: tuple[str, str, str], how: sql.Composable, patience: Patience) -> None:
    statement = sql.SQL("ALTER TABLE {} REPLICA IDENTITY {}").format(sql.Identifier(*table[:2]), how)
    patiently(session, statement, patience, lambda: holders(session, qualified(table[0], table[1])))
