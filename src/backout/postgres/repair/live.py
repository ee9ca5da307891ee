"""The live table under repair: read rows by key, write them only while nobody else has.

The guard is the row's own `xmin`: an UPDATE or DELETE that finds another one has met a newer write of the
application, changes nothing and is judged again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from backout.model.mapping import Mapping
from backout.model.repair import RepairColumn, RepairTable
from backout.postgres.connect import Session

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Live:
    """A row of the live table."""

    values: dict[str, str | None]
    version: str
    """Its `xmin`: changes with every write."""
    touched_after_down: bool
    """It may have been written after the down (False is certain)."""
    by_migration: bool = False
    """The migration itself wrote it last: whatever stands there is not the application's."""


def columns_of(table: RepairTable) -> tuple[RepairColumn, ...]:
    """The columns that the live table has."""
    return tuple(column for column in table.columns if column.mapping is not Mapping.DROPPED)


@dataclass(frozen=True, slots=True)
class Marks:
    """Transaction ids (32 bit) by which the author of a row is told; empty = not known."""

    horizon: str = ""
    """Every transaction that was unfinished before the down had reached it: rows written by older ones were
    not written since."""
    migration: str = ""
    """The migration's own."""
    downs: tuple[str, ...] = ()
    """The down's own: where it rewrote a table, every row carries one, and nobody had written it."""


def read(session: Session, table: RepairTable, keys: Sequence[Key], marks: Marks) -> dict[Key, Live]:
    """The live rows of these keys."""
    if not keys:
        return {}
    columns = columns_of(table)
    names = [sql.Identifier("t", column.name) for column in columns]
    query = sql.SQL(
        "SELECT v.n, t.xmin::text, {touched}, {own}, {values} FROM {wanted} JOIN {table} t ON {join}"
    ).format(
        touched=_touched(marks),
        own=sql.SQL("t.xmin::text = {}").format(sql.Literal(marks.migration)),
        values=sql.SQL(", ").join(sql.SQL("{}::pg_catalog.text").format(name) for name in names),
        wanted=_given(_by_key(table, keys)),
        table=sql.SQL(table.table),
        join=_join(table),
    )
    found: dict[Key, Live] = {}
    for number, version, touched, own, *values in session.execute(query):
        row = {column.name: value for column, value in zip(columns, values, strict=True)}
        found[keys[number - 1]] = Live(row, version, touched, own)
    return found


def read_fitting(session: Session, table: RepairTable, keys: Sequence[Key]) -> dict[Key, Live]:
    """The same for keys that come from a schema with other types, without marks: one that this table's types
    cannot hold (`sixty`, 5000000000) is no row's."""
    try:
        with session.transaction():
            return read(session, table, keys, Marks())
    except psycopg.DataError:
        if len(keys) == 1:
            return {}
    half = len(keys) // 2
    return read_fitting(session, table, keys[:half]) | read_fitting(session, table, keys[half:])


def keys_of(session: Session, table: RepairTable, keys: Sequence[Key]) -> frozenset[Key]:
    """Which of these keys the table has."""
    query = sql.SQL("SELECT v.n FROM {} JOIN {} t ON {}").format(
        _given(_by_key(table, keys)), sql.SQL(table.table), _join(table)
    )
    return frozenset(keys[number - 1] for (number,) in session.execute(query))


def _touched(marks: Marks) -> sql.Composable:
    if not marks.horizon:
        return sql.SQL("true")
    return sql.SQL(
        "pg_catalog.age(t.xmin) < pg_catalog.age({}::pg_catalog.xid) AND NOT t.xmin::text = ANY({}::text[])"
    ).format(sql.Literal(marks.horizon), sql.Literal(list(marks.downs)))


Given = dict[str, Sequence[str | None]]
"""Values that go along with a statement, by the name of their column in `v`."""


def _given(columns: Given) -> sql.Composable:
    """The relation `v`, its rows numbered by `n`. Text arrays, so that any type travels alike; literals, for
    beside parameters a percent sign in somebody's column name is read as a placeholder."""
    each = [
        sql.SQL("pg_catalog.unnest({}::pg_catalog.text[])").format(sql.Literal(list(values)))
        for values in columns.values()
    ]
    return sql.SQL("ROWS FROM ({}) WITH ORDINALITY v({}, n)").format(
        sql.SQL(", ").join(each), sql.SQL(", ").join(map(sql.Identifier, columns))
    )


def _by_key(table: RepairTable, keys: Sequence[Key]) -> Given:
    return {f"k{i}": [key[i] for key in keys] for i in range(len(table.key))}


def _join(table: RepairTable) -> sql.Composable:
    parts = [
        sql.SQL("t.{} = {}").format(sql.Identifier(name), _cast(table, name, f"k{i}"))
        for i, name in enumerate(table.key)
    ]
    return sql.SQL(" AND ").join(parts)


def _cast(table: RepairTable, column: str, given: str) -> sql.Composable:
    """A given text as a value of the live column."""
    kind = next(c.type for c in table.columns if c.name == column)
    return sql.SQL("{}::{}").format(sql.Identifier("v", given), sql.SQL(kind))


@dataclass(frozen=True, slots=True)
class Change:
    """One row to write. `values` empty = delete; `version` empty = insert."""

    key: Key
    values: dict[str, str | None]
    version: str


def write(session: Session, table: RepairTable, changes: Sequence[Change]) -> frozenset[Key]:
    """Write what can be written now; the keys that were written. The others have met a newer write.

    Deletes go first, then updates, then inserts. Raises what the server raises (a constraint, a trigger).
    """
    done = _delete(session, table, [c for c in changes if c.version and not c.values])
    updates = [c for c in changes if c.version and c.values]
    for names in dict.fromkeys(tuple(sorted(c.values)) for c in updates):
        done |= _update(session, table, names, [c for c in updates if tuple(sorted(c.values)) == names])
    inserts = [c for c in changes if not c.version]
    for names in dict.fromkeys(tuple(sorted(c.values)) for c in inserts):
        done |= _insert(session, table, names, [c for c in inserts if tuple(sorted(c.values)) == names])
    return frozenset(done)


def _delete(session: Session, table: RepairTable, changes: Sequence[Change]) -> set[Key]:
    if not changes:
        return set()
    query = sql.SQL(
        "DELETE FROM {table} t USING {given} WHERE {join} AND t.xmin = v.x::pg_catalog.xid RETURNING v.n"
    ).format(table=sql.SQL(table.table), given=_given(_guarded(table, changes)), join=_join(table))
    return _written(session, query, changes)


def _update(
    session: Session, table: RepairTable, names: tuple[str, ...], changes: Sequence[Change]
) -> set[Key]:
    sets = [
        sql.SQL("{} = {}").format(sql.Identifier(name), _cast(table, name, f"c{i}"))
        for i, name in enumerate(names)
    ]
    query = sql.SQL(
        "UPDATE {table} t SET {sets} FROM {given} WHERE {join} AND t.xmin = v.x::pg_catalog.xid RETURNING v.n"
    ).format(
        table=sql.SQL(table.table),
        sets=sql.SQL(", ").join(sets),
        given=_given(_guarded(table, changes) | _cells(changes, names)),
        join=_join(table),
    )
    return _written(session, query, changes)


def _guarded(table: RepairTable, changes: Sequence[Change]) -> Given:
    return _by_key(table, [change.key for change in changes]) | {"x": [c.version for c in changes]}


def _cells(changes: Sequence[Change], names: Sequence[str]) -> Given:
    return {f"c{i}": [change.values[name] for change in changes] for i, name in enumerate(names)}


def _written(session: Session, query: sql.Composed, changes: Sequence[Change]) -> set[Key]:
    return {changes[number - 1].key for (number,) in session.execute(query)}


def _insert(
    session: Session, table: RepairTable, names: tuple[str, ...], changes: Sequence[Change]
) -> set[Key]:
    """Rows whose key, and every other unique value, is free. RETURNING cannot name `v`: the key comes back
    in its text form."""
    query = sql.SQL(
        "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {given}"
        " ON CONFLICT DO NOTHING RETURNING {key}"
    ).format(
        table=sql.SQL(table.table),
        columns=sql.SQL(", ").join(map(sql.Identifier, names)),
        values=sql.SQL(", ").join(_cast(table, name, f"c{i}") for i, name in enumerate(names)),
        given=_given(_cells(changes, names)),
        key=sql.SQL(", ").join(
            sql.SQL("{}::pg_catalog.text").format(sql.Identifier(name)) for name in table.key
        ),
    )
    return {tuple(row) for row in session.execute(query)}
