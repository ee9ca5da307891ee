"""Repair in place: what of each table is brought back, what the rehearsal saw, and what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

from backout.model.fates import Fates
from backout.model.mapping import Mapping


@dataclass(frozen=True, slots=True)
class RepairColumn:
    """One column of a table under repair, by its name on the live database."""

    name: str
    type: str
    """As `format_type` writes it; values travel in their text form and are cast to it."""
    mapping: Mapping
    needs_value: bool = False


@dataclass(frozen=True, slots=True)
class RepairTable:
    """One table under repair. Names as they are after the down, the same in all three states."""

    table: str
    """Qualified, quoted where needed: ready for SQL."""
    key: tuple[str, ...]
    """Columns that identify a row (unquoted); empty = rows have no identity."""
    columns: tuple[RepairColumn, ...]
    """The key's and all others that are not generated."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did to one table, or would do. Rows; a row has one fate, the gravest of its cells'."""

    table: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    already_right: int = 0
    """Rows that the migration had changed and that hold the right values already."""
    values_back: int = 0
    """Non-NULL values of before the migration that stand in the live table again."""
    fates: Fates = field(default_factory=Fates)
    retries: int = 0
    """Rows that were written by somebody else between our reading and our writing, and read again."""

    @property
    def rows(self) -> int:
        """Rows that the repair wrote."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True, slots=True)
class Source:
    """Where the two states of before come from, and how exactly they enclose the migration.

    `failure` says why there is no such source; the databases are empty then.
    """

    snapshot: str
    """ID of the snapshot that `before` was restored from; a recovery target where it was a twin restore."""
    as_of: str
    """The moment of `before`, RFC 3339."""
    before: str
    """Database: just before the migration."""
    migrated: str
    """Database: just after it, and brought to the schema of the live database."""
    exact: bool
    """Nothing was committed between `before` and the migration's commit."""
    stale_transactions: int | None
    """Else how many at most before it began; None = nobody can know."""
    failure: str = ""
    before_instance: str = ""
    """Restored cluster that holds `before`; empty = the scratch server. Then both are clusters, and share
    their physical base with the live one."""
    migrated_instance: str = ""

    @property
    def physical(self) -> bool:
        """Whether an untouched row lies in the live database as it lies in the copies."""
        return bool(self.migrated_instance)

    @property
    def label(self) -> str:
        """How every value from here is marked when it is not exact."""
        if self.exact:
            return ""
        if self.stale_transactions == 0:
            return f"as of {self.as_of}; what others committed while the migration ran is not in it"
        number = "an unknown number of" if self.stale_transactions is None else f"{self.stale_transactions:,}"
        return f"as of {self.as_of}, up to {number} transactions stale"


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What people approve of a repair in place; part of the proposal and of its digest."""

    source: Source
    tables: tuple[RepairTable, ...]
    """In the order in which rows may be inserted: referenced tables first."""
    forecast: tuple[Repaired, ...]
    """What the rehearsal did on a clone of the proven copy."""
    quiet_triggers: bool
    """The role may switch user triggers off in the repair's own session."""
    triggers: tuple[str, ...] = ()
    """Else the triggers that fire for the repair's own writes."""
    seconds: float = 0.0
    """What the repair took in the rehearsal, writers apart."""

    @property
    def values_back(self) -> int:
        """Values that the rehearsal brought back."""
        return sum(table.values_back for table in self.forecast)

    @property
    def fates(self) -> Fates:
        """Of rows, over all tables."""
        return total_fates(self.forecast)


def total_fates(tables: Sequence[Repaired]) -> Fates:
    """The fates of all rows of these tables."""
    return reduce(Fates.plus, (table.fates for table in tables), Fates())


@dataclass(frozen=True, slots=True)
class RepairDone:
    """What a repair did on the live database, over all its attempts."""

    tables: tuple[Repaired, ...]
    wrong: int
    """Rows that a second look found other than they should be, parked ones apart; 0 is the proof."""
    orphans: tuple[str, ...]
    """Foreign keys with rows whose parent is missing; looked for where triggers were quiet."""
    seconds: float
    label: str
    """How exact the values of before are; empty = exact."""

    @property
    def values_back(self) -> int:
        """Values of before that stand in the live tables again."""
        return sum(table.values_back for table in self.tables)

    @property
    def fates(self) -> Fates:
        """Of rows, over all tables."""
        return total_fates(self.tables)
