"""Measure what a down destroyed: the proven copy against the clone on which the down has run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from secrets import randbits

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from backout.model.loss import DestroyedBy, Figure, Loss, LossKind
from backout.model.plan import Keep
from backout.postgres import same_file
from backout.postgres.catalog import Column, Schema, Table, key_of, read_schema
from backout.postgres.compare import Comparison, Defaults, Shape, compare
from backout.postgres.connect import Session
from backout.postgres.fingerprint import TOO_LARGE
from backout.postgres.losses import keeps, sides
from backout.postgres.losses.groups import Group, Living, groups
from backout.postgres.losses.since import SinceMarks, rows_since, written_since
from backout.postgres.losses.touched import Store, counters_are_complete, stores

OnProgress = Callable[[str, int], None]
"""Called with the table's name and the rows read so far."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run destroyed."""

    losses: tuple[Loss, ...]
    """`by` the down, `kept` false, sorted by object and column. A column or table that is gone has its line
    even when it holds no value, because one may be written there before the plan is carried out."""
    keeps: tuple[Keep, ...]
    """One or two per table with a loss; `oid_on_target` is the copy's and has to be replaced."""
    touched: tuple[str, ...]
    """Tables that were written, altered, rewritten or dropped; named as before."""
    not_measured: tuple[str, ...]
    """What the database holds and no figure covers, a short phrase each."""
    rewritten: tuple[str, ...] = ()
    """Of `touched`, those that still exist and lie in a new file: truncated or rewritten."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two databases, and what was read of them once."""

    before: Session
    after: Session
    schema: Schema
    stores_before: dict[int, Store]
    stores_after: dict[int, Store]
    trusted: bool
    """Counters are complete: what they do not count was not written."""
    seed: int
    marks: SinceMarks
    on_progress: OnProgress


def measure(
    before: Session,
    after: Session,
    *,
    ignore: frozenset[str] = frozenset(),
    marks: SinceMarks | None = None,
    on_progress: OnProgress | None = None,
) -> Measured:
    """Compare a copy with its clone (made by CREATE DATABASE … TEMPLATE) after something ran there.

    Tables that were not touched are found by their files and counters and are not read. `ignore` holds
    qualified names, the migration tool's history first. Rows are compared by key in streams, in constant
    memory; nothing is written to either side. `after` must be left alone by everybody else; waits up to
    five seconds for sessions to end, and reads every table when one stays.
    """
    trusted = counters_are_complete(after)
    with steady(before), steady(after):
        schema, after_schema = read_schema(before), read_schema(after)
        pair = _Pair(
            before=before,
            after=after,
            schema=schema,
            stores_before=stores(before),
            stores_after=stores(after),
            trusted=trusted,
            seed=randbits(62),
            marks=marks or SinceMarks(),
            on_progress=on_progress or (lambda _table, _rows: None),
        )
        found = [_measure_group(pair, group) for group in groups(schema, after_schema, ignore)]
        not_measured = _not_measured(before, schema)
    seen = [one for one in found if one is not None]
    return Measured(
        losses=tuple(
            sorted((loss for one in seen for loss in one.losses), key=lambda loss: (loss.object, loss.key))
        ),
        keeps=tuple(keep for one in seen for keep in keeps.keeps_of(one)),
        touched=tuple(sorted(one.group.name for one in seen)),
        not_measured=not_measured,
        rewritten=tuple(sorted(one.group.name for one in seen if one.rewritten and not one.group.is_gone)),
    )


@contextmanager
def steady(session: Session) -> Iterator[None]:
    """One snapshot for everything, with settings for long reads; inside the caller's transaction if any."""
    begins = session.info.transaction_status == TransactionStatus.IDLE
    with session.transaction():
        if begins:
            session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for name, value in (("work_mem", "64MB"), ("jit", "off"), ("statement_timeout", "0")):
            session.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))
        yield


def _measure_group(pair: _Pair, group: Group) -> keeps.Seen | None:
    """What one table lost; None when it was not touched."""
    written = _written_leaves(pair, group)
    if not (written or _altered(group) or _new_leaves(pair, group)):
        return None
    rewritten = any(_in_new_file(pair, leaf) for leaf in group.leaves)
    key = tuple(p.before.name for p in group.keys[0]) if group.keys else key_of(group.root)
    seen = keeps.Seen(group, key, rewritten, (), _partitions_gone(pair, group))
    if group.is_gone:
        return replace(seen, losses=(_table_gone(pair, group),))
    compared = _compare(pair, group, written) if written or _new_leaves(pair, group) else Compared()
    return replace(seen, losses=_lines(pair, group, compared))


def _written_leaves(pair: _Pair, group: Group) -> tuple[Table, ...]:
    """Leaves whose rows may differ: gone, in a new file, of another size, or counted as written."""

    def untouched(leaf: Table) -> bool:
        was, now = pair.stores_before[leaf.oid], pair.stores_after.get(leaf.oid)
        same = now is not None and (was.filenode, was.bytes) == (now.filenode, now.bytes)
        return same and pair.trusted and now is not None and now.writes == 0

    return tuple(leaf for leaf in group.leaves if not untouched(leaf))


def _in_new_file(pair: _Pair, leaf: Table) -> bool:
    now = pair.stores_after.get(leaf.oid)
    return now is None or now.filenode != pair.stores_before[leaf.oid].filenode


def _partitions_gone(pair: _Pair, group: Group) -> tuple[Table, ...]:
    """Partitions that were dropped, when no other one lies in a new file."""
    there = {leaf.oid for leaf in group.after_leaves}
    left = [leaf for leaf in group.leaves if leaf.oid in there]
    if group.after_root is None or any(_in_new_file(pair, leaf) for leaf in left):
        return ()
    return tuple(leaf for leaf in group.leaves if leaf.oid not in there)


def _new_leaves(pair: _Pair, group: Group) -> tuple[Table, ...]:
    return tuple(leaf for leaf in group.after_leaves if leaf.oid not in pair.schema.by_oid)


def _altered(group: Group) -> bool:
    """Whether the table itself is another: gone, renamed, or with other columns."""
    if group.after_root is None or group.after_root.qualified != group.name:
        return True
    was, now = ([(c.attnum, c.name, c.type) for c in t.columns] for t in (group.root, group.after_root))
    return was != now


@dataclass(frozen=True, slots=True)
class Compared:
    """The outcome for one group; empty when its rows did not have to be read."""

    rows: Comparison | None = None
    keyed: bool = True
    unpaired: bool = False
    """Rows have no identity, and a column that the down made holds values: some may have moved there."""


def _compare(pair: _Pair, group: Group, written: tuple[Table, ...]) -> Compared:
    """Compare the written leaves with themselves and with new partitions."""
    wanted = {leaf.oid for leaf in written}
    after = [leaf for leaf in group.after_leaves if leaf.oid in wanted or leaf.oid not in pair.schema.by_oid]
    filled = bool(group.gone) and _filled(pair, group, after)
    if not _has_rows(pair.after, after):
        return Compared(_all_gone(pair, group, written))
    last: psycopg.Error | None = None
    for casts, wide, key in _ways(group):
        try:
            with pair.before.transaction(), pair.after.transaction():
                found = _compare_as(pair, group, written, after, filled, casts=casts, wide=wide, key=key)
                return Compared(found, keyed=bool(key), unpaired=filled and not key)
        except (psycopg.DataError, psycopg.ProgrammingError, *TOO_LARGE) as error:
            last = error
    assert last is not None
    raise last


def _ways(group: Group) -> Iterator[tuple[bool, bool, tuple[Living, ...]]]:
    """(casts, wide, key), the sharpest first: a cast may fail on a value or name a type that is unknown on
    the other side, and a row may be too large for its binary form."""
    key = group.keys[0] if group.keys else ()
    retyped = any(pair.retyped for pair in group.living)
    yield True, False, key
    if retyped:
        yield False, False, key
    yield not retyped, True, key


def _compare_as(
    pair: _Pair,
    group: Group,
    written: tuple[Table, ...],
    after: list[Table],
    filled: bool,
    *,
    casts: bool,
    wide: bool,
    key: tuple[Living, ...],
) -> Comparison:
    forms = sides.Expressions(pair.before, pair.after, group, casts=casts)
    columns = (*(p.after for p in group.living), *group.created)
    width = len(group.living)
    defaults = Defaults(
        sides.default_hashes(pair.after, columns, pair.seed), frozenset(range(width, len(columns)))
    )
    shape = Shape(tuple(forms.key_type(p) for p in key), pair.seed, wide=wide, every_pair=filled)
    return compare(
        sides.before_side(pair.before, group, written, key, forms),
        sides.after_side(pair.after, group, after, key, forms, pair.schema),
        shape,
        defaults,
        lambda rows: pair.on_progress(group.name, rows),
        same_files=not wide and _same_files(pair, written, after),
    )


def _same_files(pair: _Pair, written: tuple[Table, ...], after: list[Table]) -> bool:
    if pair.before.info.server_version < same_file.FIRST_VERSION:
        return False
    same_tables = [leaf.oid for leaf in written] == [leaf.oid for leaf in after]
    return same_tables and not any(_in_new_file(pair, leaf) for leaf in written)


def _filled(pair: _Pair, group: Group, leaves: list[Table]) -> bool:
    """Whether a column that the down made holds anything but its default: then values may have moved."""
    for leaf in leaves:
        present = {column.name for column in leaf.columns}
        tests = []
        for column in group.created:
            if column.name not in present:
                continue
            shown = sql.SQL("{}::pg_catalog.text").format(sql.Identifier(column.name))
            default = sides.default_text(column) if sides.constant(column.default) else sql.SQL("NULL::text")
            tests.append(
                sql.SQL('({0} IS NOT NULL AND {0} COLLATE "C" IS DISTINCT FROM {1})').format(shown, default)
            )
        if tests:
            query = sql.SQL("SELECT EXISTS (SELECT 1 FROM {} WHERE {})").format(
                sides.only(leaf), sql.SQL(" OR ").join(tests)
            )
            row = pair.after.execute(query).fetchone()
            if row is not None and row[0]:
                return True
    return False


def _has_rows(session: Session, leaves: list[Table]) -> bool:
    for leaf in leaves:
        row = session.execute(sql.SQL("SELECT EXISTS (SELECT 1 FROM {})").format(sides.only(leaf))).fetchone()
        if row is not None and row[0]:
            return True
    return False


def _all_gone(pair: _Pair, group: Group, written: tuple[Table, ...]) -> Comparison:
    """Every row of these leaves is gone: count them without a stream."""
    found = Comparison()
    for leaf in written:
        rows, values = sides.count(pair.before, leaf, [p.before for p in group.living])
        found.rows_before += rows
        found.rows_gone += rows
        found.values_gone += values
    pair.on_progress(group.name, found.rows_before)
    return found


def _table_gone(pair: _Pair, group: Group) -> Loss:
    columns = [column for column in group.root.columns if not column.generated]
    rows, values = sides.count(pair.before, group.root, columns)
    pair.on_progress(group.name, rows)
    return _line(pair, group, "", LossKind.TABLE_GONE, Figure.exact(values), Figure.exact(rows), columns)


def _lines(pair: _Pair, group: Group, compared: Compared) -> tuple[Loss, ...]:
    lines = _columns_gone(pair, group, compared)
    found = compared.rows
    if found is None:
        return tuple(lines)
    if found.rows_gone:
        # Without a key a changed row is one gone and one new: some of its cells are still there.
        sure = compared.keyed or not found.rows_new
        values = Figure.exact(found.values_gone) if sure else Figure.at_most(found.values_gone)
        columns = [p.before for p in group.living]
        rows = Figure.exact(found.rows_gone)
        lines.append(_line(pair, group, "", LossKind.ROWS_GONE, values, rows, columns))
    for number, cells in sorted(found.changed.items()):
        column = group.living[number].before
        figure = Figure.exact(cells)
        lines.append(_line(pair, group, column.name, LossKind.VALUES_CHANGED, figure, figure, [column]))
    return tuple(lines)


def _columns_gone(pair: _Pair, group: Group, compared: Compared) -> list[Loss]:
    lines = []
    for number, (column, values, defaulted) in enumerate(_column_counts(pair, group)):
        moved = _moved(compared.rows, len(group.living) + number, values)
        left = values - moved
        figure = Figure.at_most(left) if compared.unpaired and left else Figure.exact(left)
        line = _line(pair, group, column.name, LossKind.COLUMN_GONE, figure, figure, [column])
        lines.append(replace(line, equal_to_default=min(defaulted, left)))
    return lines


def _column_counts(pair: _Pair, group: Group) -> list[tuple[Column, int, int]]:
    """(column, non-NULL values, of which equal to the default) for every column that is gone."""
    if not group.gone:
        return []
    parts: list[sql.Composable] = []
    for column in group.gone:
        name = sql.Identifier(column.name)
        parts.append(sql.SQL("pg_catalog.count({})").format(name))
        if sides.constant(column.default):
            same = sql.SQL('pg_catalog.count(*) FILTER (WHERE {}::pg_catalog.text = {} COLLATE "C")')
            parts.append(same.format(name, sides.default_text(column)))
        else:
            parts.append(sql.SQL("0"))
    query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(parts), sides.whole(group.root))
    row = pair.before.execute(query).fetchone()
    assert row is not None
    return [(column, row[2 * i], row[2 * i + 1]) for i, column in enumerate(group.gone)]


def _moved(found: Comparison | None, number: int, values: int) -> int:
    """Values of a dropped column that stand in another column of the same row, which the down made or
    changed. A column counts as the new place only when all values are there or they are of several kinds:
    a flag that happens to say `true` as well is no copy."""
    if found is None or number not in found.places_of:
        return 0
    at = found.places_of[number]
    cells: dict[int, int] = {}
    for places, count in at.items():
        for place in places:
            cells[place] = cells.get(place, 0) + count
    good = {p for p, n in cells.items() if n == values or len(found.variety[number, p]) > 1}
    return sum(count for places, count in at.items() if places & good)


def _line(
    pair: _Pair,
    group: Group,
    column: str,
    kind: LossKind,
    values: Figure,
    rows: Figure,
    columns: list[Column],
) -> Loss:
    bound = rows_since(pair.before, pair.marks, group.root)
    return Loss(
        object=group.name,
        column=column,
        kind=kind,
        by=DestroyedBy.DOWN,
        values=values,
        rows=rows,
        written_since=written_since(pair.marks, group.name, columns, values, bound),
    )


def _not_measured(session: Session, schema: Schema) -> tuple[str, ...]:
    found = []
    if any(other.kind == "sequence" for other in schema.others):
        found.append("positions of sequences")
    foreign = sum(1 for table in schema.tables if table.kind == "f")
    if foreign:
        found.append(f"rows of {foreign} foreign table{'s' if foreign > 1 else ''}")
    row = session.execute("SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_largeobject_metadata)").fetchone()
    if row is not None and row[0]:
        found.append("large objects")
    return tuple(found)
