"""Statements that carry out one row change, with numbered parameters; made once for each shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from psycopg import sql

from backout.model.changes import Change

# Types where `=` means the same text. The others are compared by what their output function writes:
# json and xml have no `=`, boxes and circles compare areas, numeric 1.0 = 1.00, citext folds case.
_COLLATED = frozenset({19, 25, 1043})
_EXACT = frozenset({16, 17, 18, 20, 21, 23, 26, 1082, 1083, 1114, 1184, 2950}) | _COLLATED


@dataclass(frozen=True, slots=True)
class Write:
    """One statement to be applied."""

    query: bytes
    parameters: tuple[str | None, ...]
    rows: int | None
    """How many rows it must hit; None = any number. Another number is treated as a refusal."""
    change: Change | None
    """What it carries out, and what is parked when the target refuses it; None = bookkeeping of ours,
    whose refusal ends the run."""
    thorough: Write | None = None
    """Does the same, and stores the row where there is none; dearer, so it is only sent when a window is
    repeated."""


@dataclass(frozen=True, slots=True)
class WholeRow:
    """A table whose rows have no key, and the columns by which one of them is searched."""

    schema: str
    name: str
    types: tuple[tuple[str, int], ...]
    """Name and type oid of each."""


@lru_cache(maxsize=4096)
def insert_query(schema: str, name: str, columns: tuple[str, ...]) -> bytes:
    """Insert one row; the values of identity columns are those of the source."""
    if not columns:
        return _bytes(sql.SQL("INSERT INTO {} DEFAULT VALUES").format(sql.Identifier(schema, name)))
    return _bytes(
        sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
            sql.Identifier(schema, name), _list(map(sql.Identifier, columns)), _list(_numbered(len(columns)))
        )
    )


@lru_cache(maxsize=4096)
def update_query(schema: str, name: str, columns: tuple[str, ...], key: tuple[str, ...]) -> bytes:
    """Update one row by its key: parameters are the new values, then the key."""
    return _bytes(
        sql.SQL("UPDATE {} SET {} WHERE {}").format(
            sql.Identifier(schema, name), _assignments(columns), _by_key(key, len(columns))
        )
    )


@lru_cache(maxsize=4096)
def delete_query(schema: str, name: str, key: tuple[str, ...]) -> bytes:
    """Delete one row by its key."""
    return _bytes(sql.SQL("DELETE FROM {} WHERE {}").format(sql.Identifier(schema, name), _by_key(key, 0)))


@lru_cache(maxsize=4096)
def select_query(schema: str, name: str, key: tuple[str, ...]) -> bytes:
    """Hit one row by its key, and change nothing."""
    return _bytes(sql.SQL("SELECT FROM {} WHERE {}").format(sql.Identifier(schema, name), _by_key(key, 0)))


def or_insert(found: Write, schema: str, name: str, row: Mapping[str, str | None]) -> Write:
    """Carry out `found`, an UPDATE or a SELECT of one row, and insert the row if it hit none."""
    query = _or_insert_query(found.query, len(found.parameters), schema, name, tuple(row))
    return Write(query, (*found.parameters, *row.values()), None, found.change)


@lru_cache(maxsize=4096)
def _or_insert_query(found: bytes, before: int, schema: str, name: str, columns: tuple[str, ...]) -> bytes:
    insert = sql.SQL(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} WHERE NOT EXISTS (SELECT FROM hit)"
    ).format(
        sql.Identifier(schema, name),
        _list(map(sql.Identifier, columns)),
        _list(_numbered(len(columns), before + 1)),
    )
    returning = b" RETURNING 1" if found.startswith(b"UPDATE") else b""
    return b"WITH hit AS (" + found + returning + b") " + _bytes(insert)


@lru_cache(maxsize=4096)
def update_one_query(table: WholeRow, columns: tuple[str, ...]) -> bytes:
    """Update one of the rows that are equal in every column of `table.types`: parameters are the new values,
    then the whole old row."""
    return _bytes(
        sql.SQL("UPDATE {} SET {} WHERE {}").format(
            sql.Identifier(table.schema, table.name), _assignments(columns), _one_of(table, len(columns))
        )
    )


@lru_cache(maxsize=4096)
def delete_one_query(table: WholeRow) -> bytes:
    """Delete one of the rows that are equal in every column of `table.types`."""
    return _bytes(
        sql.SQL("DELETE FROM {} WHERE {}").format(sql.Identifier(table.schema, table.name), _one_of(table, 0))
    )


def truncate_query(tables: Iterable[tuple[str, str]], *, restart_identity: bool) -> bytes:
    """Empty these tables, and no others: a cascade of the source is repeated by naming what it reached."""
    names = _list(sql.Identifier(schema, name) for schema, name in tables)
    restart = sql.SQL(" RESTART IDENTITY" if restart_identity else "")
    return _bytes(sql.SQL("TRUNCATE {}{}").format(names, restart))


def _bytes(statement: sql.Composable) -> bytes:
    return statement.as_bytes(None)


def _list(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def _numbered(count: int, first: int = 1) -> list[sql.Composable]:
    return [_number(n) for n in range(first, first + count)]


def _number(n: int) -> sql.Composable:
    return sql.SQL("${}").format(n)


def _assignments(columns: tuple[str, ...]) -> sql.Composed:
    return _list(
        sql.SQL("{} = {}").format(sql.Identifier(column), _number(n))
        for n, column in enumerate(columns, start=1)
    )


def _by_key(key: tuple[str, ...], before: int) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(column), _number(n))
        for n, column in enumerate(key, start=before + 1)
    )


def _one_of(table: WholeRow, before: int) -> sql.Composed:
    """A ctid alone would also name rows of other partitions."""
    equal = sql.SQL(" AND ").join(
        _same(column, oid, n) for n, (column, oid) in enumerate(table.types, start=before + 1)
    )
    return sql.SQL("(tableoid, ctid) = (SELECT tableoid, ctid FROM {} WHERE {} LIMIT 1)").format(
        sql.Identifier(table.schema, table.name), equal
    )


def _same(column: str, type_oid: int, n: int) -> sql.Composed:
    name = sql.Identifier(column)
    if type_oid in _COLLATED:
        return sql.SQL('{} COLLATE "C" IS NOT DISTINCT FROM {}').format(name, _number(n))
    if type_oid in _EXACT:
        return sql.SQL("{} IS NOT DISTINCT FROM {}").format(name, _number(n))
    written = sql.SQL("CASE WHEN num_nonnulls({0}) = 1 THEN pg_catalog.format('%s', {0}) END").format(name)
    return sql.SQL("{} IS NOT DISTINCT FROM {}::pg_catalog.text").format(written, _number(n))
