"""Put the invalid indexes of a database onto a copy of it: a dump leaves them out, a rehearsal needs them."""

from __future__ import annotations

import contextlib

import psycopg

from backout.postgres.catalog import Index, Schema, Table, read_schema
from backout.postgres.connect import Session, open_session
from backout.postgres.names import qualified
from backout.postgres.remedies import concurrently

_GIVE_UP_MS = 150


def invalid_indexes(schema: Schema) -> tuple[tuple[Table, Index], ...]:
    """Every invalid index of ordinary tables, with its table."""
    return tuple((t, i) for t in schema.tables if t.kind == "r" for i in t.indexes if not i.valid)


def stand_in(source: Schema, copy_dsn: str, application_name: str) -> tuple[str, ...]:
    """Leave on the copy an invalid index for each one that the source has; returns their names.

    A build is begun beside a session that holds its table, and cancelled while it waits: the catalog entry
    stays, invalid, without reading a row and whatever the rows are. Idempotent. What cannot be built at
    all (a function is missing) is left out.
    """
    wanted = invalid_indexes(source)
    if not wanted:
        return ()
    with (
        open_session(copy_dsn, application_name, autocommit=False) as holder,
        open_session(copy_dsn, application_name, statement_timeout_ms=_GIVE_UP_MS) as builder,
    ):
        there = {qualified(t.schema, i.name) for t in read_schema(builder).tables for i in t.indexes}
        names = tuple(qualified(table.schema, index.name) for table, index in wanted)
        for (table, index), name in zip(wanted, names, strict=True):
            if name not in there:
                _begin_and_cancel(holder, builder, table, index)
        there = {qualified(t.schema, i.name) for t in read_schema(builder).tables for i in t.indexes}
    return tuple(name for name in names if name in there)


def _begin_and_cancel(holder: Session, builder: Session, table: Table, index: Index) -> None:
    holder.execute(f"LOCK TABLE ONLY {table.qualified} IN ROW EXCLUSIVE MODE".encode())
    try:
        with contextlib.suppress(psycopg.Error):
            builder.execute(concurrently(index).encode())
    finally:
        holder.rollback()
