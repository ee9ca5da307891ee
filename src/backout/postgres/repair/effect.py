"""The effect of a migration, row by row: the keys in which two quiet copies differ, and both their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from psycopg import sql

from backout.model.mapping import Mapping
from backout.model.repair import RepairColumn, RepairTable
from backout.postgres.catalog import Schema, Table
from backout.postgres.compare import PLACE, Comparison, Shape, at_places, by_source, rows_apart, stream
from backout.postgres.connect import Session
from backout.postgres.fingerprint import TEXT, forms_of, key_bytes
from backout.postgres.source import Place, Side, Source

BATCH = 1000
Row = dict[str, str | None]
"""Values in their text form, by column."""

# Places and fingerprints stay on the two copies; a fixed seed makes the batches of a resumed repair the same.
_SEED = 0x6261636B6F7574
_ABSENT = {Mapping.ADDED: 0, Mapping.DROPPED: 1}
"""On which of the two sides a column of this mapping is not there."""
_MISSING = sql.SQL("NULL::pg_catalog.text")
_SIMPLE_KEYS = frozenset({"smallint", "integer", "bigint", "uuid"})


@dataclass(frozen=True, slots=True)
class Changed:
    """One row that the migration made, changed or deleted. At least one of the two is there."""

    before: Row | None
    migrated: Row | None
    version: str = ""
    """`xmin` of the migrated row: the live row of a physical sibling has the same until it is written."""

    def key(self, names: Sequence[str]) -> tuple[str, ...]:
        """Its identity, in text form."""
        row = self.before if self.before is not None else self.migrated
        assert row is not None
        values = [row[name] for name in names]
        assert all(value is not None for value in values), "a key column holds NULL"
        return tuple(str(value) for value in values)


@dataclass(frozen=True, slots=True)
class Copies:
    """The two copies, each read through one session inside a steady transaction."""

    before: Session
    migrated: Session
    before_schema: Schema
    migrated_schema: Schema


def changed_rows(copies: Copies, table: RepairTable) -> Iterator[tuple[Changed, ...]]:
    """Rows that differ between the two copies, in batches, ordered by the bytes of their key.

    The order and the batches depend on the contents of the copies alone. A table without a key gives
    nothing (see `lost_copies`).
    """
    if not table.key:
        return
    sides = _sides(copies, table)
    keyed = [column for column in table.columns if column.name in table.key]
    types = tuple(column.type if column.type in _SIMPLE_KEYS else "text" for column in keyed)
    shape = Shape(types, _SEED)
    length = key_bytes([sql.NULL for _ in types], types).length
    with closing(stream(sides[0], shape)) as left, closing(stream(sides[1], shape)) as right:
        apart = rows_apart(left, right, length, every_pair=False, seen=Comparison())
        while batch := list(islice(apart, BATCH)):
            old = _rows_at(sides[0], [b for b, _ in batch if b is not None], _there(table, 0))
            new = _rows_at(sides[1], [a for _, a in batch if a is not None], _there(table, 1))
            yield tuple(_changed(old.get(b) if b else None, new.get(a) if a else None) for b, a in batch)


def _changed(old: tuple[Row, str] | None, new: tuple[Row, str] | None) -> Changed:
    return Changed(old[0] if old else None, new[0] if new else None, new[1] if new else "")


def _there(table: RepairTable, side: int) -> tuple[RepairColumn, ...]:
    return tuple(column for column in table.columns if _ABSENT.get(column.mapping) != side)


def _sides(copies: Copies, table: RepairTable) -> tuple[Side, Side]:
    """Both sides with the same expressions in the same order; a column that one side lacks is NULL there."""
    found = (copies.before_schema.by_name.get(table.table), copies.migrated_schema.by_name.get(table.table))
    compared = tuple(c for c in table.columns if c.mapping is not Mapping.ADDED)
    plain = _comparable_as_they_are(copies, found, compared)
    return (
        Side(copies.before, _sources(copies.before_schema, found[0], table, compared, plain, 0)),
        Side(copies.migrated, _sources(copies.migrated_schema, found[1], table, compared, plain, 1)),
    )


def _comparable_as_they_are(
    copies: Copies, tables: tuple[Table | None, Table | None], columns: Sequence[RepairColumn]
) -> frozenset[str]:
    """Columns whose binary form means the same on both sides: one type with a fixed oid."""
    if tables[0] is None or tables[1] is None:
        return frozenset()
    types = [{c.name: c.type_oid for c in table.columns} for table in tables if table is not None]
    shared = [c.name for c in columns if c.name in types[0] and types[0].get(c.name) == types[1].get(c.name)]
    forms = forms_of(copies.before, (types[0][name] for name in shared))
    return frozenset(name for name in shared if not forms[types[0][name]].cast)


def _sources(
    schema: Schema,
    root: Table | None,
    table: RepairTable,
    compared: Sequence[RepairColumn],
    plain: frozenset[str],
    side: int,
) -> tuple[Source, ...]:
    if root is None:
        return ()
    there = {column.name for column in root.columns}
    simple = {c.name for c in table.columns if c.name in table.key and c.type in _SIMPLE_KEYS}

    def expression(column: RepairColumn) -> sql.Composable:
        if column.name not in there or _ABSENT.get(column.mapping) == side:
            return _MISSING
        name = sql.Identifier(column.name)
        return name if column.name in plain else TEXT.of(name)

    def identity(column: RepairColumn) -> sql.Composable:
        name = sql.Identifier(column.name)
        return name if column.name in simple else TEXT.of(name)

    key = tuple(identity(c) for c in table.columns if c.name in table.key)
    row = tuple(expression(column) for column in compared)
    leaves = [t for t in schema.tables if t.has_rows and schema.root_of(t).oid == root.oid]
    return tuple(
        Source(leaf.oid, sql.SQL("ONLY {}").format(sql.Identifier(leaf.schema, leaf.name)), key, row, ())
        for leaf in leaves
    )


def _rows_at(
    side: Side, places: Sequence[Place], columns: Sequence[RepairColumn]
) -> dict[Place, tuple[Row, str]]:
    """The rows at these places, each with its `xmin`."""
    found: dict[Place, tuple[Row, str]] = {}
    names = [column.name for column in columns]
    texts = sql.SQL(", ").join(TEXT.of(sql.Identifier(name)) for name in names)
    for source, tids in by_source(side, places):
        query = sql.SQL("SELECT {}, xmin::pg_catalog.text, {} FROM {} WHERE {}").format(
            PLACE, texts, source.relation, at_places(tids)
        )
        for place, version, *values in side.session.execute(query):
            found[place] = (dict(zip(names, values, strict=True)), version)
    return found
