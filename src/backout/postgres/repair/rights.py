"""What the role of the repair may do on the live database, asked and never assumed."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from backout.model.repair import RepairTable
from backout.postgres.connect import Session
from backout.postgres.names import qualified
from backout.postgres.roles import is_superuser

_LOOKED_AT = 100_000
"""Transactions after a migration whose commit times are compared with its own."""


def may_quiet_triggers(session: Session) -> bool:
    """Whether the role may set `session_replication_role` (superuser, or granted from 15 on): then triggers
    of the application, and foreign keys, stay quiet in the repair's session alone."""
    if is_superuser(session):
        return True
    if session.info.server_version < 150000:
        return False
    may = session.execute("SELECT pg_catalog.has_parameter_privilege('session_replication_role', 'SET')")
    return may.fetchone() == (True,)


def horizon(session: Session) -> str:
    """An xid that every transaction now unfinished has reached or passed; xids below it are over."""
    row = session.execute(
        "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::numeric % 4294967296"
    ).fetchone()
    assert row is not None
    return str(int(row[0]))


def ran_alone(session: Session, xid: str | None) -> bool:
    """Whether it is sure that no transaction that began after this one committed before it did.

    Sure is: none has begun since; or the server keeps commit timestamps, and none of those that began before
    it had committed has an earlier one.
    """
    if xid is None:
        return False
    row = session.execute(
        """SELECT (pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::numeric
                   - %s::numeric)::bigint %% 4294967296,
                  pg_catalog.current_setting('track_commit_timestamp')""",
        (xid,),
    ).fetchone()
    assert row is not None
    later, kept = int(row[0]) - 1, row[1] == "on"
    if later == 0 or not kept:
        return later == 0
    earlier = session.execute(
        """SELECT count(*) FROM pg_catalog.generate_series(1, %s) i
           WHERE pg_catalog.pg_xact_commit_timestamp(((%s::bigint + i) %% 4294967296)::text::xid)
                 <= pg_catalog.pg_xact_commit_timestamp(%s::text::xid)""",
        (min(later, _LOOKED_AT), int(xid), xid),
    ).fetchone()
    return earlier == (0,)


def triggers_of(session: Session, tables: list[RepairTable]) -> tuple[str, ...]:
    """Enabled user triggers of these tables, `trigger on table`."""
    rows = session.execute(
        """SELECT t.tgname::text || ' on ' || t.tgrelid::pg_catalog.regclass::text
           FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
             AND t.tgrelid = ANY(%s::text[]::pg_catalog.regclass[]) ORDER BY 1""",
        ([table.table for table in tables],),
    ).fetchall()
    return tuple(row[0] for row in rows)


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key; tables qualified, columns as pairs (of the child, of the parent)."""

    name: str
    child: str
    parent: str
    pairs: tuple[tuple[str, str], ...]


def orphans(session: Session, table: RepairTable) -> tuple[str, ...]:
    """Foreign keys to or from this table that some row breaks, `name on table: rows`."""
    found = []
    for key in foreign_keys(session, table):
        query = sql.SQL(
            """SELECT count(*) FROM {child} c
               WHERE {filled} AND NOT EXISTS (SELECT FROM {parent} p WHERE {join})"""
        ).format(
            child=sql.SQL(key.child),
            parent=sql.SQL(key.parent),
            filled=sql.SQL(" AND ").join(
                sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(here)) for here, _ in key.pairs
            ),
            join=sql.SQL(" AND ").join(
                sql.SQL("c.{} = p.{}").format(sql.Identifier(here), sql.Identifier(there))
                for here, there in key.pairs
            ),
        )
        row = session.execute(query).fetchone()
        if row is not None and row[0]:
            found.append(f"{key.name} on {key.child}: {row[0]:,}")
    return tuple(found)


def foreign_keys(session: Session, table: RepairTable) -> tuple[ForeignKey, ...]:
    """Foreign keys from and to this table."""
    rows = session.execute(
        """SELECT k.conname::text, cn.nspname::text, c.relname::text, pn.nspname::text, p.relname::text,
                  (SELECT pg_catalog.array_agg(ARRAY[a.attname::text, b.attname::text] ORDER BY i.n)
                   FROM pg_catalog.generate_subscripts(k.conkey, 1) i(n)
                   JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[i.n]
                   JOIN pg_catalog.pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = k.confkey[i.n])
           FROM pg_catalog.pg_constraint k
           JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
           JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
           JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
           JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
           WHERE k.contype = 'f' AND k.conparentid = 0
             AND %s::text::pg_catalog.regclass IN (k.conrelid, k.confrelid) ORDER BY k.oid""",
        (table.table,),
    ).fetchall()
    return tuple(
        ForeignKey(name, qualified(cs, cn), qualified(ps, pn), tuple((a, b) for a, b in pairs))
        for name, cs, cn, ps, pn, pairs in rows
    )
