"""Sequences of tables under repair: never behind a key that comes back."""

from __future__ import annotations

from psycopg import sql

from backout.model.repair import RepairTable
from backout.postgres.connect import Session

MARGIN = 1000
"""Room above the highest key of before, for values that were handed out and not yet stored."""


def lift(before: Session, live: Session, table: RepairTable) -> tuple[str, ...]:
    """Move every sequence that fills a column of this table past the highest value that the column had
    before the migration, where it is behind (TRUNCATE … RESTART IDENTITY, a sequence made anew), so that the
    application is never given a key that a returning row holds. Returns their names.

    Only ever forward, so it can run twice.
    """
    moved = []
    for column, sequence in _owned(live, table):
        highest = before.execute(
            sql.SQL("SELECT pg_catalog.max({})::bigint FROM {}").format(
                sql.Identifier(column), sql.SQL(table.table)
            )
        ).fetchone()
        if highest is None or highest[0] is None:
            continue
        done = live.execute(
            sql.SQL(
                """SELECT pg_catalog.setval({name}::text::pg_catalog.regclass, {to})
                   FROM {sequence} WHERE last_value < {highest}"""
            ).format(
                name=sql.Literal(sequence),
                sequence=sql.SQL(sequence),
                to=sql.Literal(highest[0] + MARGIN),
                highest=sql.Literal(highest[0]),
            )
        ).fetchone()
        moved += [sequence] if done is not None else []
    return tuple(moved)


def _owned(live: Session, table: RepairTable) -> list[tuple[str, str]]:
    """(column, sequence) of identity and serial columns."""
    rows = live.execute(
        """SELECT a.attname::text, pg_catalog.pg_get_serial_sequence(%s, a.attname::text)
           FROM pg_catalog.pg_attribute a
           WHERE a.attrelid = %s::text::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped
             AND a.atttypid IN (20, 21, 23)""",
        (table.table, table.table),
    ).fetchall()
    known = {column.name for column in table.columns}
    return [(column, sequence) for column, sequence in rows if sequence and column in known]
