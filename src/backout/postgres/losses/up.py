"""Measure what an up destroyed and its down does not give back, against a snapshot from before the up."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from secrets import randbits

from psycopg import sql

from backout.model.loss import Basis, DestroyedBy, Figure, Loss, LossKind
from backout.postgres.catalog import Column, Schema, Table, keys_of, read_schema
from backout.postgres.compare import BATCH, NULL_CELL, Cells, Shape, cells_at, stream
from backout.postgres.connect import Session
from backout.postgres.fingerprint import TEXT, TOO_LARGE, key_bytes
from backout.postgres.losses import sides
from backout.postgres.losses.down import OnProgress, steady
from backout.postgres.source import Place, Side, Source

_HASH = 8
Apart = tuple[Place, Place | None, Place | None]
"""A row of before the up, and the rows of the same key now and after the down."""


@dataclass(frozen=True, slots=True)
class _Table:
    """One table in the three states; what is missing is None."""

    before: Table
    now: Table | None
    after: Table | None
    columns: tuple[_Column, ...]
    wrote: bool
    """The up's own statements may have written its rows."""


@dataclass(frozen=True, slots=True)
class _Column:
    """One column in the three states."""

    before: Column
    now: Column | None
    """The column that the down turns into `after`, whatever its name is now."""
    after: Column | None


@dataclass(slots=True)
class _Tally:
    """What one table lost. Counts by column number; `unsure` are those the application may have caused."""

    rows: int = 0
    values: int = 0
    sure: dict[int, int] = field(default_factory=dict)
    unsure: dict[int, int] = field(default_factory=dict)
    elsewhere: dict[int, dict[int, _Elsewhere]] = field(default_factory=dict)
    """Of `sure`: column -> another column of the same row after the down -> what stands there."""


@dataclass(slots=True)
class _Elsewhere:
    """How another column of the same row after the down compares with the value that is not back."""

    equal: int = 0
    blank: int = 0
    other: int = 0
    kinds: set[bytes] = field(default_factory=set)
    """Up to two different values found equal."""


def measure_up(
    before_up: Session,
    now: Session,
    after_down: Session,
    *,
    ignore: frozenset[str] = frozenset(),
    written_by_up: frozenset[str] | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[Loss, ...]:
    """Values of before the up that are neither there now nor given back by the down.

    `before_up` is a restored snapshot and is matched by name; `now` (the proven copy) and `after_down`
    (its clone, on which the down has run) are siblings. Columns and tables that the up dropped are exact.
    Rows that are missing and cells that differ in what it left standing are `at_most`: the application may
    have done it. They are looked for only in the tables of `written_by_up` (qualified names as of before
    the up, from the up's own UPDATE, DELETE, TRUNCATE and changes of type); None = not known: in all.
    """
    found: list[Loss] = []
    with steady(before_up), steady(now), steady(after_down):
        schemas = (read_schema(before_up), read_schema(now), read_schema(after_down))
        for table in _tables(*schemas, ignore, written_by_up):
            report = _reporter(on_progress, table.before.qualified)
            found += _measure_table((before_up, now, after_down), schemas, table, report)
    return tuple(sorted(found, key=lambda loss: (loss.object, loss.key)))


def _reporter(on_progress: OnProgress | None, name: str) -> Callable[[int], None]:
    return lambda rows: on_progress(name, rows) if on_progress is not None else None


def _tables(
    before: Schema, now: Schema, after: Schema, ignore: frozenset[str], wrote: frozenset[str] | None
) -> Generator[_Table, None, None]:
    for table in before.tables:
        name = table.qualified
        if table.kind not in "rp" or name in ignore or before.root_of(table) is not table:
            continue
        given_back = after.by_name.get(name)
        # The down's table leads to the one it was made of: a rename is followed through the oid.
        current = now.by_oid.get(given_back.oid) if given_back else None
        current = current or now.by_name.get(name)
        columns = tuple(_column(c, current, given_back) for c in table.columns if not c.generated)
        yield _Table(table, current, given_back, columns, wrote is None or name in wrote)


def _column(column: Column, now: Table | None, after: Table | None) -> _Column:
    back = next((c for c in after.columns if c.name == column.name), None) if after else None
    if now is None:
        return _Column(column, None, back)
    same_table = after is not None and after.oid == now.oid
    if back is not None and same_table:
        made_of = next((c for c in now.columns if c.attnum == back.attnum), None)
        if made_of is not None:
            return _Column(column, made_of, back)
    return _Column(column, next((c for c in now.columns if c.name == column.name), None), back)


Sessions = tuple[Session, Session, Session]
Schemas = tuple[Schema, Schema, Schema]


def _measure_table(
    sessions: Sessions, schemas: Schemas, table: _Table, report: Callable[[int], None]
) -> list[Loss]:
    if table.now is None and table.after is None:
        return [_all_gone(sessions[0], table)]
    dropped = table.now is None or any(column.now is None for column in table.columns)
    if table.after is None or not (dropped or table.wrote):
        return []  # gone by the down, or untouched by the up
    key = next((k for k in keys_of(table.before) if _key_is_everywhere(table, k)), ())
    if not key:
        return _without_key(sessions, table)
    try:
        with ExitStack() as savepoints:
            for session in sessions:
                savepoints.enter_context(session.transaction())
            tally = _compare(sessions, schemas, table, key, report, wide=False)
    except TOO_LARGE:
        tally = _compare(sessions, schemas, table, key, report, wide=True)
    return _lines(table, tally)


def _key_is_everywhere(table: _Table, key: Sequence[str]) -> bool:
    parts = [column for column in table.columns if column.before.name in key]
    if len(parts) != len(key):
        return False
    return all(c.after is not None and (table.now is None or c.now is not None) for c in parts)


def _all_gone(session: Session, table: _Table) -> Loss:
    rows, values = sides.count(session, table.before, [c.before for c in table.columns])
    return _loss(table, "", LossKind.TABLE_GONE, Figure.exact(values), Figure.exact(rows))


def _without_key(sessions: Sessions, table: _Table) -> list[Loss]:
    """Rows have no identity: only columns that the up dropped can be counted, as what is not back."""
    lines = []
    for column in table.columns:
        if column.now is not None:
            continue
        _, was = sides.count(sessions[0], table.before, [column.before])
        back = 0
        if column.after is not None and table.after is not None:
            _, back = sides.count(sessions[2], table.after, [column.after])
        if was > back:
            figure = Figure.at_most(was) if back else Figure.exact(was)
            lines.append(_loss(table, column.before.name, LossKind.COLUMN_GONE, figure, figure))
    return lines


def _compare(
    sessions: Sessions,
    schemas: Schemas,
    table: _Table,
    key: tuple[str, ...],
    report: Callable[[int], None],
    *,
    wide: bool,
) -> _Tally:
    keyed = [column for column in table.columns if column.before.name in key]
    plain = all(_types(c) == {c.before.type} for c in keyed)
    types = tuple(c.before.type if plain else "text" for c in keyed)
    shape = Shape(types, randbits(62), wide=wide)
    length = key_bytes([sql.NULL for _ in types], types).length
    three = (
        Side(sessions[0], _sources(schemas[0], table.before, [c.before for c in table.columns], key, table)),
        Side(sessions[1], _sources(schemas[1], table.now, [c.now for c in table.columns], key, table)),
        Side(sessions[2], _sources(schemas[2], table.after, [c.after for c in table.columns], key, table)),
    )
    tally, read = _Tally(), 0
    with ExitStack() as open_streams:
        streams = [open_streams.enter_context(closing(stream(side, shape))) for side in three]
        rows = _rows_apart(streams[0], streams[1], streams[2], length)
        while batch := list(islice(rows, BATCH)):
            old = cells_at(three[0], (b for b, _, _ in batch), shape.seed)
            current = cells_at(three[1], (n for _, n, _ in batch if n is not None), shape.seed)
            back = cells_at(three[2], (a for _, _, a in batch if a is not None), shape.seed)
            for b, n, a in batch:
                _count(table, _at(old, b), _at(current, n), _at(back, a), tally)
            read += len(batch)
            report(read)
    return tally


Row = tuple[bytes | None, ...]
"""The cells of one row, one by one; None = NULL."""


def _at(rows: dict[Place, Cells], place: Place | None) -> Row | None:
    if place is None:
        return None
    cells = rows[place]
    each = (cells[i : i + _HASH] for i in range(0, len(cells), _HASH))
    return tuple(None if one == NULL_CELL else one for one in each)


def _types(column: _Column) -> set[str]:
    return {c.type for c in (column.before, column.now, column.after) if c is not None}


def _sources(
    schema: Schema, table: Table | None, columns: Sequence[Column | None], key: tuple[str, ...], of: _Table
) -> tuple[Source, ...]:
    """One source a leaf. Cells go in as text: the three states have no types in common but by name."""
    if table is None:
        return ()
    leaves = [t for t in schema.tables if t.has_rows and schema.root_of(t).oid == table.oid]
    plain = [sql.Identifier(c.name) if c is not None else sql.SQL("NULL::text") for c in columns]
    texts = tuple(TEXT.of(name) for name in plain)
    keyed = [i for i, column in enumerate(of.columns) if column.before.name in key]
    same = all(_types(of.columns[i]) == {of.columns[i].before.type} for i in keyed)
    known = {c.name for c in columns if c is not None}
    extra = tuple(sql.Identifier(c.name) for c in table.columns if c.name not in known)
    return tuple(
        Source(
            oid=leaf.oid,
            relation=sides.only(leaf),
            key=tuple(plain[i] if same and _simple(of.columns[i]) else texts[i] for i in keyed),
            row=texts,
            cells=texts,
            extra=extra,
        )
        for leaf in leaves
    )


def _simple(column: _Column) -> bool:
    return column.before.type in {"smallint", "integer", "bigint", "uuid"}


def _rows_apart(
    before: Generator[bytes, None, None],
    now: Generator[bytes, None, None],
    after: Generator[bytes, None, None],
    key: int,
) -> Generator[Apart, None, None]:
    """Rows of before whose fingerprint is found neither now nor after the down."""
    end = key + _HASH
    n, a = next(now, None), next(after, None)
    for b in before:
        while n is not None and n[:key] < b[:key]:
            n = next(now, None)
        while a is not None and a[:key] < b[:key]:
            a = next(after, None)
        n_here = n if n is not None and n[:key] == b[:key] else None
        a_here = a if a is not None and a[:key] == b[:key] else None
        if not any(row is not None and row[:end] == b[:end] for row in (n_here, a_here)):
            yield b[-10:], n_here[-10:] if n_here else None, a_here[-10:] if a_here else None


def _count(table: _Table, old: Row | None, now: Row | None, back: Row | None, tally: _Tally) -> None:
    assert old is not None
    if now is None and back is None:
        if table.wrote or table.now is None:
            tally.rows += 1
            tally.values += sum(1 for value in old if value is not None)
        return
    for number, column in enumerate(table.columns):
        value = old[number]
        given = back[number] if back is not None else None
        if value is None or given == value or (now is not None and now[number] == value):
            continue
        if column.now is not None:
            if table.wrote:
                tally.unsure[number] = tally.unsure.get(number, 0) + 1
        elif given is None:
            tally.sure[number] = tally.sure.get(number, 0) + 1
            _look_elsewhere(tally, number, value, back or (), len(table.columns))
        elif now is None or given not in now:
            # Another value was given back, and not one that the application has written since.
            tally.unsure[number] = tally.unsure.get(number, 0) + 1


def _look_elsewhere(tally: _Tally, number: int, value: bytes, back: Row, width: int) -> None:
    for place in range(width, len(back)):
        seen = tally.elsewhere.setdefault(number, {}).setdefault(place, _Elsewhere())
        if back[place] is None:
            seen.blank += 1
        elif back[place] != value:
            seen.other += 1
        else:
            seen.equal += 1
            if len(seen.kinds) < 2:
                seen.kinds.add(value)


def _gone(table: _Table, tally: _Tally, number: int) -> tuple[int, int]:
    """(values surely gone, values that the application may have overwritten) of a column that the up dropped.

    A rename that the down does not take back is no loss: a column that holds most of the values, and
    several different ones (a flag that is `true` as well is no copy), is the same column. What differs
    there was written by the application, or by the up where that wrote rows.
    """
    sure, unsure = tally.sure.get(number, 0), tally.unsure.get(number, 0)
    others = tally.elsewhere.get(number, {}).values()
    best = max(others, key=lambda place: place.equal, default=None)
    if best is None or best.equal * 2 < sure or (len(best.kinds) < 2 and best.equal < sure):
        return sure, unsure
    return best.blank, unsure + (best.other if table.wrote else 0)


def _lines(table: _Table, tally: _Tally) -> list[Loss]:
    lines = []
    if tally.rows:
        basis = Basis.EXACT if table.now is None else Basis.AT_MOST
        values, rows = Figure(tally.values, basis), Figure(tally.rows, basis)
        lines.append(_loss(table, "", LossKind.ROWS_GONE, values, rows))
    for number, column in enumerate(table.columns):
        sure, unsure = _gone(table, tally, number)
        if sure or unsure:
            figure = Figure(sure + unsure, Basis.AT_MOST if unsure else Basis.EXACT)
            kind = LossKind.COLUMN_GONE if column.now is None else LossKind.VALUES_CHANGED
            lines.append(_loss(table, column.before.name, kind, figure, figure))
    return lines


def _loss(table: _Table, column: str, kind: LossKind, values: Figure, rows: Figure) -> Loss:
    return Loss(
        object=table.before.qualified, column=column, kind=kind, by=DestroyedBy.UP, values=values, rows=rows
    )
