"""Copies made before the down starts, so that little is left to copy under its lock: take, drop.

A pre-copy is one transaction: it is there whole or not at all. It is marked as ours by its comment, and by
its name it is no kept table; only the commit of the down makes it one (`proxy/delta.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from backout.errors import LockNotGranted, Refused
from backout.model.plan import Budgets, Keep, KeepHow
from backout.postgres import names
from backout.postgres.connect import Session, place_of
from backout.postgres.proxy.capture import columns, stored
from backout.postgres.proxy.kept_tables import GRANTEES
from backout.postgres.proxy.policy import PreCopy, Rows
from backout.postgres.proxy.tables import Table, named, read_tables

_HORIZON = "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text"
_TREE = """SELECT relkind = 'p' OR EXISTS (SELECT FROM pg_catalog.pg_inherits i
                                        WHERE %(oid)s::oid IN (i.inhparent, i.inhrelid))
FROM pg_catalog.pg_class WHERE oid = %(oid)s::oid"""
# A deferrable key may hold twins for a while, a partial or computed one says nothing of the rest.
_KEY = """SELECT EXISTS (SELECT FROM pg_catalog.pg_index i
  WHERE i.indrelid = %s::oid AND i.indisunique AND i.indisvalid AND i.indimmediate
    AND i.indpred IS NULL AND i.indexprs IS NULL
    AND NOT EXISTS (SELECT FROM pg_catalog.unnest(i.indkey[0 : i.indnkeyatts - 1]) n
                      JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = n
                    WHERE NOT a.attnotnull OR a.attname <> ALL (%s::pg_catalog.text[])))"""
_OURS = """SELECT c.relname::text FROM pg_catalog.pg_class c
WHERE c.relnamespace = pg_catalog.to_regnamespace(%s) AND c.relkind = 'r'
  AND pg_catalog.starts_with(c.relname::text, 'pre_')
  AND pg_catalog.starts_with(pg_catalog.obj_description(c.oid, 'pg_class'), %s)"""


class _Direct:
    """The catalog as the proxy reads it, over a session of our own."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def rows(self, query: str, *parameters: str | None) -> Rows:
        assert not parameters, "this is only asked for the tables"
        return tuple(self._session.execute(query.encode()).fetchall())


def why_not(session: Session, keep: Keep) -> str:
    """Why this keep cannot be made from a pre-copy; empty = it can. Only reads.

    The rows of a pre-copy are found again by a key that is unique and never NULL.
    """
    if keep.how is not KeepHow.COLUMNS:
        return f"{keep.how.value} are kept, not columns"
    tables = read_tables(_Direct(session))
    table = named(tables, keep.table)
    if table is None:
        return "it is not there"
    if session.execute(_TREE, {"oid": table.oid}).fetchone() == (True,):
        return "it is partitioned, a partition, or has children"
    row = session.execute(_KEY, (table.oid, list(keep.key))).fetchone()
    return "" if keep.key and row == (True,) else "it has no unique key that is never NULL"


def take(session: Session, incident: str, keeps: Sequence[Keep], budgets: Budgets) -> tuple[PreCopy, ...]:
    """Copy these tables now, each in a snapshot of its own; what an earlier attempt left goes first.

    `session` is of the role that the tool comes as: it has to own the copies. Waits for nobody but a holder
    of ACCESS EXCLUSIVE, at most the patience of the budgets; raises `LockNotGranted` then, and `Refused`
    when a table cannot be copied.
    """
    drop(session, incident)
    return tuple(_take(session, incident, n, keep, budgets) for n, keep in enumerate(keeps, 1))


def drop(session: Session, incident: str) -> int:
    """Drop every pre-copy of this incident and say how many went; kept tables stay. Idempotent.

    One that a dying session of the tool still holds stays for the next command.
    """
    found = session.execute(_OURS, (names.KEPT_SCHEMA, _mark(incident))).fetchall()
    return sum(_drop(session, sql.Identifier(names.KEPT_SCHEMA, name)) for (name,) in found)


def _drop(session: Session, table: sql.Identifier) -> bool:
    try:
        session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
    except psycopg.errors.LockNotAvailable:
        return False
    return True


def _mark(incident: str) -> str:
    return f"backout: pre-copy of {incident}, "


def _take(session: Session, incident: str, number: int, keep: Keep, budgets: Budgets) -> PreCopy:
    try:
        with session.transaction():
            session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            for name, seconds in (
                ("lock_timeout", budgets.lock_patience),
                ("statement_timeout", budgets.statement_timeout),
            ):
                # nothing may take the snapshot before the table is locked: neither SET does
                session.execute(
                    sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), int(seconds * 1000))
                )
            return _copy(session, incident, number, keep)
    except psycopg.errors.LockNotAvailable as error:
        raise LockNotGranted(
            f"{keep.table} could not even be read: {error.diag.message_primary}",
            where=place_of(session),
            intact="everything; the down was not begun",
            next=f"backout resume {incident}",
        ) from None
    except psycopg.Error as error:
        raise Refused(
            f"{keep.table} cannot be copied before the down: {error.diag.message_primary} ({error.sqlstate})",
            where=place_of(session),
            intact="everything; the down was not begun",
            next=f"backout propose {incident}",
        ) from None


def _copy(session: Session, incident: str, number: int, keep: Keep) -> PreCopy:
    session.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.SQL(keep.table)))
    row = session.execute(_HORIZON).fetchone()
    table = named(read_tables(_Direct(session)), keep.table)
    assert row is not None and table is not None, "it is locked"
    name = names.pre_copy(incident, table.oid, number)
    rows = _fill(session, sql.Identifier(names.KEPT_SCHEMA, name), table, keep)
    session.execute(
        sql.SQL("COMMENT ON TABLE {} IS {}").format(
            sql.Identifier(names.KEPT_SCHEMA, name),
            sql.Literal(f"{_mark(incident)}{table.name} as transaction {row[0]} saw it"),
        )
    )
    numbers = tuple((one, table.names[one]) for one in (*keep.key, *keep.columns))
    return PreCopy(keep, name, table.oid, str(row[0]), rows, numbers)


def _fill(session: Session, target: sql.Identifier, table: Table, keep: Keep) -> int:
    """Its key is a primary key: with any publication FOR ALL TABLES the delta could not update it else."""
    present = {column.name: column for column in table.columns.values()}
    wanted = (
        sql.SQL("{} AS {}").format(stored(present[name]), sql.Identifier(name))
        for name in (*keep.key, *keep.columns)
    )
    # IS NOT NULL would be false for a composite value with one empty field
    filled = (sql.SQL("{} IS DISTINCT FROM NULL").format(sql.Identifier(name)) for name in keep.columns)
    copied = session.execute(
        sql.SQL("CREATE TABLE {} AS SELECT {} FROM {} WHERE {}").format(
            target, sql.SQL(", ").join(wanted), sql.SQL(table.name), sql.SQL(" OR ").join(filled)
        )
    )
    _close_to_others(session, target)
    session.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(target, columns(keep.key)))
    return copied.rowcount


def _close_to_others(session: Session, target: sql.Identifier) -> None:
    asked = GRANTEES.format(name="%s")
    grantees = session.execute(asked.encode(), (target.as_string(session),)).fetchall()
    roles = [sql.Identifier(name) if name else sql.SQL("PUBLIC") for (name,) in grantees]
    for role in (*roles, sql.SQL("PUBLIC")):
        session.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(target, role))
