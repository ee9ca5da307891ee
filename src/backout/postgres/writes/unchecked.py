"""Deferrable keys, which nobody checks in a session with session_replication_role = replica.

Their check is a trigger that stays silent there: two rows with the same DEFERRABLE primary key go in
without an error (tried on 16 and 18). So it is made up for before the target goes live.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from backout.postgres.connect import Session
from backout.postgres.names import qualified


@dataclass(frozen=True, slots=True)
class Doubled:
    """A deferrable unique or exclusion constraint, and what was found."""

    table: str
    constraint: str
    keys: int | None
    """How many keys stand more than once; None for an exclusion constraint, which cannot be counted."""


def doubled_keys(session: Session) -> list[Doubled]:
    """Every deferrable constraint that does not hold, or cannot be looked at; empty = all hold.

    Reads the tables concerned, and no others.
    """
    rows = session.execute(
        """SELECT n.nspname::text, t.relname::text, c.conname::text, c.contype = 'x',
                  coalesce((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false),
                  (SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.n)
                   FROM pg_catalog.unnest(c.conkey) WITH ORDINALITY k(attnum, n)
                   JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum)
           FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_index i ON i.indexrelid = c.conindid
           JOIN pg_catalog.pg_class t ON t.oid = c.conrelid
           JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
           WHERE c.contype IN ('p', 'u', 'x') AND c.condeferrable AND t.relkind = 'r' ORDER BY 1, 2, 3"""
    ).fetchall()
    found = [
        Doubled(
            qualified(schema, table),
            name,
            None if exclusion else _count(session, sql.Identifier(schema, table), columns, nulls_count),
        )
        for schema, table, name, exclusion, nulls_count, columns in rows
    ]
    return [one for one in found if one.keys != 0]


def _count(session: Session, table: sql.Identifier, columns: list[str], nulls_count: bool) -> int:
    names = [sql.Identifier(column) for column in columns]
    present = sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(name) for name in names)
    row = session.execute(
        sql.SQL(
            "SELECT count(*) FROM (SELECT FROM {} WHERE {} GROUP BY {} HAVING count(*) > 1) doubled"
        ).format(table, sql.SQL("true") if nulls_count else present, sql.SQL(", ").join(names))
    ).fetchone()
    assert row is not None
    return int(row[0])
