"""One cell in three states: undo what the migration did to it, keep what the application wrote since."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backout.model.fates import Fate, Reason
from backout.model.mapping import Mapping

Value = str | None
"""A value in its text form; None = NULL."""


class Write(StrEnum):
    """Which of the three states gives the value of the cell in the backed-out database."""

    BEFORE = "before"
    NOW = "now"
    NOTHING = "nothing"
    """Leave the cell as it is."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The values of one cell in the three states.

    `touched_since` says whether the row was written after the migration (for `REMADE`: whether it may have
    been written after the down); None = nobody can know.
    """

    before: Value
    migrated: Value
    now: Value
    touched_since: bool | None
    mapping: Mapping


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to write, and the fate of what the application had written; no fate = it wrote nothing."""

    write: Write
    fate: Fate | None = None
    reason: Reason | None = None


def merge(cell: Cell) -> Outcome:
    """The rule of contracts 7, for a row that is there in all three states."""
    match cell.mapping:
        case Mapping.DROPPED:
            return Outcome(Write.BEFORE)
        case Mapping.ADDED:
            wrote = cell.now != cell.migrated
            return Outcome(Write.NOTHING, Fate.ARCHIVED if wrote else None)
        case Mapping.UNPROVED if cell.now != cell.migrated:
            return Outcome(Write.NOTHING, Fate.PARKED, Reason.NOT_CONVERTIBLE)
        case Mapping.REMADE if cell.touched_since is False:
            return Outcome(Write.BEFORE)
        case _:
            return _same_meaning(cell)


def _same_meaning(cell: Cell) -> Outcome:
    migration_wrote = cell.migrated != cell.before
    if cell.now == cell.migrated:
        if migration_wrote and cell.touched_since and cell.mapping is not Mapping.UNPROVED:
            return Outcome(Write.BEFORE, Fate.LISTED, Reason.COINCIDENT)
        return Outcome(Write.BEFORE)
    if migration_wrote:
        return Outcome(Write.NOW, Fate.LISTED, Reason.BOTH_WROTE)
    return Outcome(Write.NOW, Fate.CARRIED)
