"""Rows that a snapshot does not know: written after it, so that it cannot give their values back."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from backout.model.repair import RepairTable
from backout.postgres.connect import Session
from backout.postgres.repair.live import Key, keys_of

_BATCH = 5000


def rows_newer(before: Session, live: Session, table: RepairTable) -> Iterator[Key]:
    """Keys of the live table that `before` does not have, in constant memory. `live` is in a transaction."""
    texts = sql.SQL(", ").join(
        sql.SQL("{}::pg_catalog.text").format(sql.Identifier(name)) for name in table.key
    )
    with live.cursor("backout_newer") as cursor:
        cursor.execute(sql.SQL("SELECT {} FROM {}").format(texts, sql.SQL(table.table)))
        while rows := cursor.fetchmany(_BATCH):
            keys = [tuple(row) for row in rows]
            known = keys_of(before, table, keys)
            yield from (key for key in keys if key not in known)
