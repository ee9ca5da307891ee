"""Make a pre-copy complete under the lock: add what every transaction wrote that it did not see.

A row version that the snapshot of the pre-copy did not see was written by a transaction that was unfinished
then or came later, so its `xmin` is not below the oldest unfinished one. Freezing and rewriting a table
leave `xmin` readable, subtransactions and prepared transactions have numbers above it: the set may hold
too much, never too little. Rows deleted meanwhile stay in the copy, they name no live row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from backout.postgres.names import KEPT_SCHEMA
from backout.postgres.proxy.capture import cells, columns, stored, text
from backout.postgres.proxy.pipe import Pipe
from backout.postgres.proxy.policy import PreCopy
from backout.postgres.proxy.tables import Table, Tables, family
from backout.postgres.proxy.transaction import KEEP, NotLet

_FIND = "SELECT pg_catalog.to_regclass($1)::pg_catalog.text"
# the bound stands in a SELECT of its own, or the server would reckon it anew for every row
_SINCE = "pg_catalog.age(t.xmin) <= (SELECT pg_catalog.age(({}::bigint & 4294967295)::pg_catalog.text::xid))"
# xmax of a row that ON CONFLICT inserted is 0; one that it updated carries the lock it took before
_ADD = """WITH written AS (
  INSERT INTO {kept} ({names}) SELECT {stored} FROM {table} t WHERE {since}
  ON CONFLICT ({key}) DO UPDATE SET {replaced}
  RETURNING xmax = 0 AS added, {empty} AS empty)
SELECT pg_catalog.count(*)::text, pg_catalog.count(*) FILTER (WHERE added)::text,
       pg_catalog.count(*) FILTER (WHERE empty)::text FROM written"""
_LIVE = """SELECT pg_catalog.count(*) FILTER (WHERE {since})::text,
       pg_catalog.count(*) FILTER (WHERE NOT ({empty}))::text, ({cells})::text FROM {table} t"""


@dataclass(frozen=True, slots=True)
class Completed:
    """A pre-copy that holds everything of the moment of the lock."""

    rows: int
    """In the copy."""
    live_rows: int
    """In the table itself, with a value in one of these columns."""
    values: int
    """Non-NULL cells in the table itself."""


def usable(pipe: Pipe, tables: Tables, table: Table, before: PreCopy) -> bool:
    """Whether the pre-copy is still one of this table, and no earlier transaction used it.

    A child attached since brings rows that are older than the pre-copy and not in it; so does a column
    that was made anew with a default.
    """
    same = all(table.names.get(name) == number for name, number in before.numbers)
    if table.oid != before.oid or not same or len(family(tables, table.oid)) > 1:
        return False
    return pipe.rows(_FIND, text(sql.Identifier(KEPT_SCHEMA, before.name))) != ((None,),)


def complete(
    pipe: Pipe, table: Table, before: PreCopy, kept: str, key: tuple[str, ...], wanted: tuple[str, ...]
) -> Completed:
    """Rename the pre-copy to `kept`, add what is missing, and count; the caller holds the lock.

    The name tells the two apart, and goes back with the transaction. Raises `NotLet` when the table
    holds another number of new row versions than were added.
    """
    rename(pipe, before.name, kept)
    parts = _parts(table, before, kept, key, wanted)
    written, added, empty = _numbers(pipe, _ADD, parts)
    since, live_rows, values = _numbers(pipe, _LIVE, parts)
    if since != written:
        raise NotLet("keep", KEEP, f"{table.name} has {since} rows written since, {written} were added")
    gone = _remove_empty(pipe, parts) if empty else 0
    return Completed(before.rows + added - gone, live_rows, values)


def rename(pipe: Pipe, name: str, to: str) -> None:
    """Give a table of ours another name."""
    query = sql.SQL("ALTER TABLE {} RENAME TO {}").format(
        sql.Identifier(KEPT_SCHEMA, name), sql.Identifier(to)
    )
    pipe.inject([(text(query), ())])


def _numbers(pipe: Pipe, query: str, parts: dict[str, sql.Composable]) -> tuple[int, int, int]:
    first, second, third = pipe.rows(text(sql.SQL(query).format(**parts)))[0]
    return int(first or 0), int(second or 0), int(third or 0)


def _remove_empty(pipe: Pipe, parts: dict[str, sql.Composable]) -> int:
    """Rows that lost their last value since the pre-copy hold nothing that could be destroyed."""
    query = sql.SQL("DELETE FROM {kept} WHERE {empty}").format(**parts)
    return int(pipe.inject([(text(query), ())])[0].tag.rsplit(" ", 1)[-1])


def _parts(
    table: Table, before: PreCopy, kept: str, key: Sequence[str], wanted: Sequence[str]
) -> dict[str, sql.Composable]:
    present = {column.name: column for column in table.columns.values()}
    names = (*key, *wanted)
    replaced = (sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in wanted)
    # IS NULL would be true for a composite value with empty fields only
    empty = (sql.SQL("{} IS NOT DISTINCT FROM NULL").format(sql.Identifier(name)) for name in wanted)
    return {
        "kept": sql.Identifier(KEPT_SCHEMA, kept),
        "table": sql.SQL(table.name),
        "names": columns(names),
        "stored": sql.SQL(", ").join(stored(present[name]) for name in names),
        "key": columns(key),
        "replaced": sql.SQL(", ").join(replaced),
        "empty": sql.SQL(" AND ").join(empty),
        "cells": cells(wanted),
        "since": sql.SQL(_SINCE).format(sql.Literal(before.horizon)),
    }
