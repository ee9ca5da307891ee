"""What can be brought back in place, and how exactly; what its rehearsal and its end show; pure."""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter

from backout.merge import schema_map
from backout.model.check import Check, CheckState
from backout.model.loss import Basis, DestroyedBy, Figure, Loss
from backout.model.mapping import Mapping
from backout.model.plan import Rehearsal, Strategy
from backout.model.repair import RepairColumn, RepairDone, Repaired, RepairPlan, RepairTable, Source
from backout.postgres.catalog import Column, Schema, Table, keys_of


@dataclass(frozen=True, slots=True)
class Repairable:
    """Tables that a repair reaches, in the order in which rows may be inserted; and those it does not."""

    tables: tuple[RepairTable, ...]
    without_key: tuple[str, ...]
    """Rows have no identity that all three states share."""
    missing: tuple[str, ...]
    """Tables of before that the live database does not have."""


def repairable(before: Schema, undone: Schema, live: Schema, ignore: frozenset[str]) -> Repairable:
    """`before`: just before the migration. `undone`: the live database before the down. `live`: after it.

    Columns and tables are matched by name, for `before` may be a logical copy. `ignore` holds the migration
    tool's history.
    """
    tables, without_key, missing = [], [], []
    for table in before.tables:
        if table.kind not in "rp" or before.root_of(table) is not table or table.qualified in ignore:
            continue
        now = live.by_name.get(table.qualified)
        if now is None:
            missing.append(table.qualified)
            continue
        key = _key(table, now)
        if not key:
            without_key.append(table.qualified)
            continue
        tables.append(RepairTable(table.qualified, key, _columns(table, now, undone)))
    return Repairable(_ordered(tables, live), tuple(without_key), tuple(missing))


def _key(before: Table, live: Table) -> tuple[str, ...]:
    types = {column.name: column.type for column in live.columns}
    old = {column.name: column.type for column in before.columns}
    living = [frozenset(key) for key in keys_of(live)]
    return next(
        (
            key
            for key in keys_of(before)
            if frozenset(key) in living and all(types.get(name) == old[name] for name in key)
        ),
        (),
    )


def _columns(before: Table, live: Table, undone: Schema) -> tuple[RepairColumn, ...]:
    types = {column.name: column.type for column in live.columns}
    generated = {column.name for column in (*before.columns, *live.columns) if column.generated}
    pairs = schema_map.by_name(_shapes(before), _shapes(live))
    pairs = schema_map.remade(pairs, _made_by_down(live, undone))
    found = []
    for pair in pairs:
        if pair.name in generated:
            continue
        shape = pair.after or pair.before
        assert shape is not None
        # A type that the down did not give back is written through a cast of the text; where that fails the
        # row is parked, so the value itself may always be tried.
        mapping = Mapping.SAME if pair.mapping is Mapping.UNPROVED else pair.mapping
        found.append(RepairColumn(pair.name, types.get(pair.name, shape.type), mapping, shape.needs_value))
    return tuple(found)


def _made_by_down(live: Table, undone: Schema) -> tuple[str, ...]:
    """Columns of the live table that were not there before the down."""
    was = undone.by_oid.get(live.oid)
    known = set() if was is None else {column.attnum for column in was.columns}
    return tuple(column.name for column in live.columns if column.attnum not in known)


def _shapes(table: Table) -> tuple[schema_map.Shape, ...]:
    return tuple(schema_map.Shape(c.name, c.attnum, c.type, _needs_value(c)) for c in table.columns)


def _needs_value(column: Column) -> bool:
    return column.not_null and not (column.default or column.identity or column.generated)


def _ordered(tables: Sequence[RepairTable], live: Schema) -> tuple[RepairTable, ...]:
    """Referenced tables first. Where they refer to one another in a circle their own order stays, and rows
    that come too early are parked and tried again."""
    by_name = {table.table: table for table in tables}
    needs = {name: _referenced(live.by_name[name], by_name) for name in by_name}
    try:
        return tuple(by_name[name] for name in TopologicalSorter(needs).static_order())
    except CycleError:
        return tuple(tables)


def _referenced(table: Table, known: Dictionary[str, RepairTable]) -> set[str]:
    """Tables that the foreign keys of this one point to, as far as they are under repair. The catalog is read
    with nothing but pg_catalog in the search path, so that a definition names its table in full."""
    return {
        name
        for constraint in table.constraints
        if constraint.kind == "f"
        for name in known
        if name != table.qualified and f"REFERENCES {name}(" in constraint.definition
    }


def worth_a_repair(down: Rehearsal) -> bool:
    """Whether the down runs and leaves something destroyed that could be brought back."""
    return down.succeeded and any(_is_destroyed(loss) for loss in down.losses)


def _is_destroyed(loss: Loss) -> bool:
    return loss.by is DestroyedBy.UP and bool(loss.values.count or loss.rows.count)


def gap(snapshot: str, xid: str | None) -> int | None:
    """At most how many transactions committed between a dump's transaction snapshot (`xmin:xmax:xip`) and the
    begin of the migration's; None = nobody can know.

    Each xid from xmax on, and each one in the list of those in progress, may have committed in between; none
    of them is known to have written what the migration destroyed, so the count is an upper bound.
    """
    parts = snapshot.split(":")
    if xid is None or len(parts) != 3:
        return None
    running = [one for one in parts[2].split(",") if one]
    return (int(xid) - int(parts[1])) % 2**32 + len(running)


def reached(repaired: Repaired) -> bool:
    """Whether the migration had changed rows of this table at all."""
    return bool(repaired.rows or repaired.already_right or repaired.fates.total)


def not_repairable(down: Rehearsal, why: str) -> Rehearsal:
    """The record of a repair that cannot be rehearsed."""
    return replace(down, strategy=Strategy.D, succeeded=False, failure=why)


def repaired(down: Rehearsal, plan: RepairPlan, reach: Repairable, wrong: int) -> Rehearsal:
    """The record of a down with a repair after it: what of the up's loss remains."""
    if wrong:
        return not_repairable(down, f"the rehearsal left {wrong:,} rows other than they should be")
    if not plan.tables:
        return not_repairable(down, "no row could be brought back: the copies do not differ")
    reachable = {table.table: {column.name for column in table.columns} for table in plan.tables}
    return replace(
        down,
        strategy=Strategy.D,
        losses=tuple(_with_repair(loss, reachable, plan.source) for loss in down.losses),
        repair=plan,
        seconds=round(down.seconds + plan.seconds, 2),
        not_measured=(*down.not_measured, *_notes(plan, reach)),
    )


def _with_repair(loss: Loss, reachable: Dictionary[str, set[str]], source: Source) -> Loss:
    """A loss of the up with its way back. Counted in a copy that is not exact, no figure of it is exact."""
    back = _brought_back(loss, reachable)
    if source.exact or loss.by is not DestroyedBy.UP:
        return replace(loss, brought_back=back)
    return replace(loss, brought_back=back, values=_stale(loss.values), rows=_stale(loss.rows))


def _stale(figure: Figure) -> Figure:
    return figure if figure.count is None else Figure(figure.count, Basis.STALE)


def _brought_back(loss: Loss, reachable: Dictionary[str, set[str]]) -> bool:
    if loss.by is not DestroyedBy.UP or loss.object not in reachable:
        return False
    return not loss.column or loss.column in reachable[loss.object]


def _notes(plan: RepairPlan, reach: Repairable) -> list[str]:
    notes = [f"triggers that fire for the repair: {', '.join(plan.triggers)}"] if plan.triggers else []
    notes.append(
        "not seen: a key that another row has since gets back what the up took from the former row; where the"
        " down rewrites a table, a write of the very value that the up had stored"
    )
    if reach.without_key:
        notes.append(f"not repaired, rows have no key: {', '.join(reach.without_key)}")
    if not plan.source.exact:
        notes.append(f"values brought back are {plan.source.label}")
    return notes


def checks(done: RepairDone) -> tuple[Check, ...]:
    """The end of a repair, as checks of the verification."""
    back = f"{done.values_back:,} values back in {len(done.tables)} tables"
    if done.wrong:
        state, told = CheckState.FAIL, f"{done.wrong:,} rows are not what they should be"
    else:
        state, told = CheckState.PASS, f"{back}{f', {done.label}' if done.label else ''}"
    found = [Check("repaired", state, told)]
    fates = done.fates
    if fates.parked or fates.listed:
        state = CheckState.WARN
        found.append(
            Check(
                "parked",
                state,
                f"{fates.parked:,} rows need a person, {fates.listed:,} are listed",
                "backout parked list",
            )
        )
    if done.orphans:
        found.append(Check("foreign keys", CheckState.FAIL, "; ".join(done.orphans)))
    return tuple(found)
