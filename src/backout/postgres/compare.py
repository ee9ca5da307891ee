"""Compare the rows of a table on two sides: a merge join of two streams, in constant memory.

Each side sends one short record per row, ordered by the bytes of its key: key, fingerprint, place. Rows
whose fingerprints differ are fetched by their places, a batch at a time, and compared cell by cell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count, islice
from struct import Struct

from psycopg import sql

from backout.postgres import same_file
from backout.postgres.connect import Session
from backout.postgres.fingerprint import key_bytes, row_hash, text_hash
from backout.postgres.source import Place, Side, Source

BATCH = 5000
_FETCH = 20_000
_HASH = 8
_CELL_BITS = 8 * _HASH
_PLACE_PARTS = Struct(">IIH")
_cursor_numbers = count(1)

Progress = Callable[[int], None]
"""Called with the rows read so far."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What both sides agree on."""

    key_types: tuple[str, ...]
    seed: int
    wide: bool = False
    every_pair: bool = False
    """Fetch every pair of rows, also those whose fingerprints agree (a column may have moved)."""


@dataclass(slots=True)
class Comparison:
    """What differs. Columns are numbered as in `Source.cells` (changed) and `Source.extra` (moved)."""

    rows_before: int = 0
    rows_gone: int = 0
    values_gone: int = 0
    """Non-NULL cells of the rows gone, of the compared columns."""
    rows_new: int = 0
    rows_changed: int = 0
    changed: Counter[int] = field(default_factory=Counter)
    """Compared column -> cells whose value before is not there after."""
    places_of: dict[int, Counter[frozenset[int]]] = field(default_factory=dict)
    """Column only before -> the set of other columns after that hold its value in the same row -> cells.
    Numbers from `len(cells)` on are the extra columns of the after side."""
    variety: dict[tuple[int, int], set[bytes]] = field(default_factory=dict)
    """(column only before, column after) -> up to two different values found there."""


Apart = tuple[Place | None, Place | None]
"""A row before, a row after, or both when they share a key and are to be compared."""


def stream(side: Side, shape: Shape) -> Generator[bytes, None, None]:
    """Records of `key + fingerprint + place`, ordered as bytes; a table without a key has no key part."""
    if not side.sources:
        return
    parts = [_records(source, shape) for source in side.sources]
    query = sql.SQL(" UNION ALL ").join(parts) + sql.SQL(" ORDER BY 1")
    name = f"backout_{next(_cursor_numbers)}"
    with side.session.cursor(name, binary=True) as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(_FETCH):
            for (record,) in rows:
                yield record


def _records(source: Source, shape: Shape) -> sql.Composable:
    hashed = row_hash(source.row, shape.seed, wide=shape.wide)
    parts: list[sql.Composable] = [sql.SQL("pg_catalog.int8send({})").format(hashed), PLACE]
    if source.key:
        parts.insert(0, key_bytes(source.key, shape.key_types).expression)
    return sql.SQL("SELECT {} FROM {}").format(sql.SQL(" || ").join(parts), source.relation)


PLACE = sql.SQL("pg_catalog.int4send(tableoid::int4) || pg_catalog.tidsend(ctid)")


def rows_apart(
    before: Iterator[bytes], after: Iterator[bytes], key: int, *, every_pair: bool, seen: Comparison
) -> Iterator[Apart]:
    """Merge two ordered streams whose records begin with `key` bytes of identity.

    With `key` 8 over records without a key part (the fingerprint is the identity) equal rows cancel as a
    multiset.
    """
    end = key + _HASH
    b, a = next(before, None), next(after, None)
    while b is not None and a is not None:
        b_key, a_key = b[:key], a[:key]
        if b_key == a_key:
            seen.rows_before += 1
            if every_pair or b[:end] != a[:end]:
                yield b[-10:], a[-10:]
            b, a = next(before, None), next(after, None)
        elif b_key < a_key:
            seen.rows_before += 1
            yield b[-10:], None
            b = next(before, None)
        else:
            yield None, a[-10:]
            a = next(after, None)
    while b is not None:
        seen.rows_before += 1
        yield b[-10:], None
        b = next(before, None)
    while a is not None:
        yield None, a[-10:]
        a = next(after, None)


@dataclass(frozen=True, slots=True)
class Defaults:
    """Hashes of constant defaults on the after side, by number of the column (see `Comparison`)."""

    hashes: Mapping[int, bytes]
    created: frozenset[int]
    """Columns after that had no counterpart before: their values can have come from elsewhere."""


def compare(
    before: Side, after: Side, shape: Shape, defaults: Defaults, report: Progress, *, same_files: bool
) -> Comparison:
    """Compare all rows of `before` with those of `after`; both sessions must be inside a transaction.

    `same_files`: the sources of both sides are the same tables in the same order and lie in the same files
    as when the one database was cloned from the other; then only what differs is read at all.
    Raises what the server raises when an expression fails on a value; the caller knows a milder form.
    """
    found = Comparison()
    places = same_file.changed_places(before, after, report) if same_files else None
    if places is not None:
        old, new, found.rows_before = places
        identities = (_identities(side, many, shape) for side, many in ((before, old), (after, new)))
        _count_all(same_file.paired(*identities), before, after, shape, defaults, found)
        return found
    keyed = bool(before.sources[0].key)
    length = key_bytes(before.sources[0].key, shape.key_types).length if keyed else _HASH
    # Closed here and not whenever they are collected: closing a cursor is a statement of its own.
    with closing(stream(before, shape)) as left, closing(stream(after, shape)) as right:
        apart = rows_apart(left, right, length, every_pair=shape.every_pair and keyed, seen=found)
        _count_all(apart, before, after, shape, defaults, found, report)
    report(found.rows_before)
    return found


def _identities(side: Side, places: Sequence[Place], shape: Shape) -> dict[Place, bytes]:
    found: dict[Place, bytes] = {}
    for first in range(0, len(places), BATCH):
        found |= identities_at(side, places[first : first + BATCH], shape)
    return found


def _count_all(
    apart: Iterator[Apart],
    before: Side,
    after: Side,
    shape: Shape,
    defaults: Defaults,
    found: Comparison,
    report: Progress = lambda _rows: None,
) -> None:
    while batch := list(islice(apart, BATCH)):
        _count(batch, before, after, shape, defaults, found)
        report(found.rows_before)


def _count(
    batch: Sequence[Apart],
    before: Side,
    after: Side,
    shape: Shape,
    defaults: Defaults,
    found: Comparison,
) -> None:
    gone = [b for b, a in batch if b is not None and a is None]
    found.rows_gone += len(gone)
    found.values_gone += values_at(before, gone)
    found.rows_new += sum(1 for b, _ in batch if b is None)
    pairs = [(b, a) for b, a in batch if b is not None and a is not None]
    if not pairs or not before.sources[0].key:
        return
    old = cells_at(before, (b for b, _ in pairs), shape.seed)
    new = cells_at(after, (a for _, a in pairs), shape.seed)
    width = len(before.sources[0].cells)
    for b, a in pairs:
        count_pair(old[b], new[a], width, defaults, found)


Cells = bytes
"""8 bytes a cell: a hash of its text form, zeros for NULL. Compared columns first, then extra ones."""
NULL_CELL = bytes(_HASH)


def cell(cells: Cells, number: int) -> bytes:
    """One cell of a row."""
    return cells[number * _HASH : (number + 1) * _HASH]


def count_pair(old: Cells, new: Cells, width: int, defaults: Defaults, found: Comparison) -> None:
    """Count what one pair of rows lost: changed cells, and where the values of dropped columns went."""
    changed = _changed(old, new, width)
    lost = [i for i in changed if cell(old, i) != NULL_CELL or cell(new, i) != defaults.hashes.get(i)]
    if lost:
        found.rows_changed += 1
        found.changed.update(lost)
    candidates = [*changed, *defaults.created]
    for dropped in range(width, len(old) // _HASH):
        value = cell(old, dropped)
        if value == NULL_CELL:
            continue
        at = frozenset(i for i in candidates if cell(new, i) == value and defaults.hashes.get(i) != value)
        if not at:
            continue
        found.places_of.setdefault(dropped, Counter())[at] += 1
        for i in at:
            kinds = found.variety.setdefault((dropped, i), set())
            if len(kinds) < 2:
                kinds.add(value)


def _changed(old: Cells, new: Cells, width: int) -> list[int]:
    if old[: width * _HASH] == new[: width * _HASH]:
        return []
    # One big number shows at once which cells differ; rows are wide and changes few.
    end = width * _HASH
    difference = int.from_bytes(old[:end]) ^ int.from_bytes(new[:end])
    found = []
    while difference:
        above = (difference.bit_length() - 1) // _CELL_BITS
        found.append(width - 1 - above)
        difference &= (1 << above * _CELL_BITS) - 1
    return found[::-1]


def cells_at(side: Side, places: Iterable[Place], seed: int) -> dict[Place, Cells]:
    """The cells of these rows, by place."""
    found: dict[Place, Cells] = {}
    for source, tids in by_source(side, places):
        values = [_CELL.format(text_hash(each, seed)) for each in (*source.cells, *source.extra)]
        row = sql.SQL(" || ").join(values) if values else sql.SQL("''::bytea")
        found |= _by_place(side.session, source, row, tids)
    return found


_CELL = sql.SQL("coalesce(pg_catalog.int8send({}), '\\x0000000000000000'::bytea)")


def identities_at(side: Side, places: Iterable[Place], shape: Shape) -> dict[Place, bytes]:
    """The key of these rows by place; of rows without a key their fingerprint."""
    found: dict[Place, bytes] = {}
    for source, tids in by_source(side, places):
        identity = (
            key_bytes(source.key, shape.key_types).expression
            if source.key
            else sql.SQL("pg_catalog.int8send({})").format(row_hash(source.row, shape.seed, wide=shape.wide))
        )
        found |= _by_place(side.session, source, identity, tids)
    return found


def _by_place(session: Session, source: Source, value: sql.Composable, tids: list[str]) -> dict[Place, bytes]:
    query = sql.SQL("SELECT {}, {} FROM {} WHERE {}").format(PLACE, value, source.relation, at_places(tids))
    with session.cursor(binary=True) as cursor:
        return dict(cursor.execute(query).fetchall())


def values_at(side: Side, places: Iterable[Place]) -> int:
    """How many cells of the compared columns are not NULL in these rows."""
    total = 0
    for source, tids in by_source(side, places):
        query = sql.SQL("SELECT {} FROM {} WHERE {}").format(
            non_null_cells(source.cells), source.relation, at_places(tids)
        )
        row = side.session.execute(query).fetchone()
        assert row is not None
        total += row[0]
    return total


def at_places(tids: list[str]) -> sql.Composable:
    """A condition: the rows at these places of one source (see `by_source`)."""
    # As a literal: beside parameters, a percent sign in somebody's column name is read as a placeholder.
    return sql.SQL("ctid = ANY({}::pg_catalog.tid[])").format(sql.Literal("{" + ",".join(tids) + "}"))


def non_null_cells(cells: Sequence[sql.Composable]) -> sql.Composable:
    """An aggregate: non-NULL cells of all rows. `num_nonnulls` and not `IS NOT NULL`, which is false for a
    composite value with a NULL field."""
    if not cells:
        return sql.SQL("0::bigint")
    # A call takes at most 100 arguments, a table up to 1,600 columns.
    groups = [cells[i : i + 100] for i in range(0, len(cells), 100)]
    counts = [sql.SQL("pg_catalog.num_nonnulls({})").format(sql.SQL(", ").join(group)) for group in groups]
    return sql.SQL("coalesce(pg_catalog.sum({}), 0)::bigint").format(sql.SQL(" + ").join(counts))


def by_source(side: Side, places: Iterable[Place]) -> Iterator[tuple[Source, list[str]]]:
    """The places of each source, as tids."""
    by_oid: dict[int, list[str]] = {}
    for place in places:
        oid, block, offset = _PLACE_PARTS.unpack(place)
        by_oid.setdefault(oid, []).append(f'"({block},{offset})"')
    for source in side.sources:
        if source.oid in by_oid:
            yield source, by_oid[source.oid]
