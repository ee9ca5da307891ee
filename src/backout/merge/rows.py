"""One row in three states: whether it is there, then cell by cell."""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from backout.merge.cells import Cell, Outcome, Value, Write, merge
from backout.model.fates import Fate, Reason, gravest
from backout.model.mapping import Mapping

Row = Dictionary[str, Value]
"""Values by the name of the column as the plan calls it (see `Column.name`)."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the plan. `name` is its name in the old schema; an added column has its own."""

    name: str
    mapping: Mapping
    needs_value: bool = False
    """NOT NULL without a default, in the old schema."""


@dataclass(frozen=True, slots=True)
class Triple:
    """The same key in the three states; None = there is no such row."""

    before: Row | None
    migrated: Row | None
    now: Row | None
    touched_since: bool | None = None
    """The application wrote the row after the migration; None = nobody can know."""
    touched_after_down: bool | None = None
    """The application may have written it after the down."""


class Result(StrEnum):
    """The row in the backed-out database."""

    ROW = "row"
    """There, with the values of the outcome; columns that are not named keep what stands there."""
    ABSENT = "absent"
    STAY = "stay"
    """Left as it is, because it is parked."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The merge of one row: its values, the fate of the application's write, and why."""

    result: Result
    values: Row
    fate: Fate | None = None
    reason: Reason | None = None
    listed: tuple[str, ...] = ()
    """Columns whose cells were listed."""
    parked: tuple[str, ...] = ()
    """Columns whose cells were parked, or all columns when the row itself is."""
    archived: tuple[str, ...] = ()
    """Added columns in which the application had written."""


def judge(row: Triple, columns: Sequence[Column]) -> Judgement:
    """The table of state_merge 1.3, row by row. A triple without any row is a mistake of the caller."""
    before, migrated, now = row.before, row.migrated, row.now
    if before is not None and migrated is not None and now is not None:
        return _cells(before, migrated, now, row, columns)
    if before is not None and now is not None:
        return _key_used_again(before, now, columns)
    if before is not None:
        return _gone_now(before, migrated, columns)
    if migrated is not None:
        return _made_by_migration(migrated, now, row.touched_since, columns)
    assert now is not None
    return _inserted(now, columns)


def _cells(before: Row, migrated: Row, now: Row, row: Triple, columns: Sequence[Column]) -> Judgement:
    outcomes: list[tuple[str, Outcome]] = []
    values: dict[str, Value] = {}
    for column in columns:
        name = column.name
        remade = column.mapping is Mapping.REMADE
        touched = row.touched_after_down if remade else row.touched_since
        cell = Cell(before.get(name), migrated.get(name), now.get(name), touched, column.mapping)
        outcome = merge(cell)
        outcomes.append((name, outcome))
        if outcome.write is not Write.NOTHING:
            values[name] = cell.before if outcome.write is Write.BEFORE else cell.now
    return _judgement(values, outcomes)


def _judgement(values: Row, outcomes: Sequence[tuple[str, Outcome]]) -> Judgement:
    fate = gravest(outcome.fate for _, outcome in outcomes)
    return Judgement(
        Result.ROW,
        values,
        fate,
        next((outcome.reason for _, outcome in outcomes if outcome.fate is fate), None),
        *(
            tuple(name for name, outcome in outcomes if outcome.fate is wanted)
            for wanted in (Fate.LISTED, Fate.PARKED, Fate.ARCHIVED)
        ),
    )


def _key_used_again(before: Row, now: Row, columns: Sequence[Column]) -> Judgement:
    """Deleted by the migration, and the application stored a row under its key: never overlaid."""
    free = {c.name for c in columns if c.mapping is Mapping.REMADE and now.get(c.name) is None}
    shared = [c.name for c in columns if c.mapping in (Mapping.SAME, Mapping.REMADE) and c.name not in free]
    if all(before.get(name) == now.get(name) for name in shared):
        return Judgement(Result.ROW, dict(before), Fate.LISTED, Reason.DELETED_BY_BOTH)
    return _parked(Reason.KEY_REUSED, columns)


def _gone_now(before: Row, migrated: Row | None, columns: Sequence[Column]) -> Judgement:
    if migrated is None:
        return Judgement(Result.ROW, dict(before))
    # A key that the application changed looks like this too: what the migration took from such a row has no
    # row to go back to, so it is listed with its values and never silently dropped.
    old = [c.name for c in columns if c.mapping not in (Mapping.ADDED, Mapping.UNPROVED)]
    changed = tuple(name for name in old if before.get(name) != migrated.get(name))
    if changed:
        return Judgement(Result.ABSENT, {}, Fate.LISTED, Reason.DELETED_BY_APPLICATION, listed=changed)
    return Judgement(Result.ABSENT, {}, Fate.CARRIED)


def _made_by_migration(
    migrated: Row, now: Row | None, touched: bool | None, columns: Sequence[Column]
) -> Judgement:
    if now is None:
        return Judgement(Result.ABSENT, {}, Fate.CARRIED)
    names = [c.name for c in columns if c.mapping is not Mapping.REMADE]
    if any(now.get(name) != migrated.get(name) for name in names):
        return _parked(Reason.MIGRATION_ROW_CHANGED, columns)
    if touched:
        return Judgement(Result.ABSENT, {}, Fate.LISTED, Reason.COINCIDENT)
    return Judgement(Result.ABSENT, {})


def _inserted(now: Row, columns: Sequence[Column]) -> Judgement:
    """The application's own new row: its values where the old schema has the column, else that default."""
    outcomes: list[tuple[str, Outcome]] = []
    values: dict[str, Value] = {}
    for column in columns:
        value = now.get(column.name)
        match column.mapping:
            case Mapping.SAME | Mapping.REMADE:
                values[column.name] = value
                outcomes.append((column.name, Outcome(Write.NOW, Fate.CARRIED)))
            case Mapping.UNPROVED:
                return _parked(Reason.NOT_CONVERTIBLE, columns)
            case Mapping.ADDED:
                fate = Fate.ARCHIVED if value is not None else None
                outcomes.append((column.name, Outcome(Write.NOTHING, fate)))
            case Mapping.DROPPED if column.needs_value:
                return _parked(Reason.NO_DEFAULT, columns)
            case Mapping.DROPPED:
                pass
    return _judgement(values, outcomes)


def _parked(reason: Reason, columns: Sequence[Column]) -> Judgement:
    return Judgement(Result.STAY, {}, Fate.PARKED, reason, parked=tuple(c.name for c in columns))
