"""The four fates of a write made after the migration; their counters add up to the writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    """What becomes of an acknowledged write; in order of gravity, the gravest last.

    Settled in contracts 3 and in the glossary: a write has one fate, the gravest of its values'.
    """

    CARRIED = "carried"
    """It stands in the backed-out database, once."""
    ARCHIVED = "archived"
    """The old schema has no place for it; people read "kept"."""
    LISTED = "listed"
    """The migration had written the same cell: what stands there now was chosen by rule, and is shown."""
    PARKED = "parked"
    """It needs a person; both versions are stored."""


_GRAVITY = {fate: number for number, fate in enumerate(Fate)}


def gravest(fates: Iterable[Fate | None]) -> Fate | None:
    """The fate of a row from the fates of its cells; None when nothing was written."""
    return max((fate for fate in fates if fate is not None), key=_GRAVITY.__getitem__, default=None)


class Reason(StrEnum):
    """Why a write was listed or parked, in words that people read."""

    BOTH_WROTE = "both the migration and the application wrote it"
    COINCIDENT = "the application stored the value that the migration had stored"
    DELETED_BY_APPLICATION = "the application deleted a row that the migration had changed"
    DELETED_BY_BOTH = "deleted by the migration, then stored again with the same values"
    NO_PARENT = "the row that it belongs to is not there: made by the migration, or parked itself"
    KEY_REUSED = "the key was used again after the migration deleted its row"
    MIGRATION_ROW_CHANGED = "the application changed a row that the migration made"
    NOT_CONVERTIBLE = "the value cannot be turned back into the old form"
    NO_DEFAULT = "no value for a column that must not be empty"
    CANNOT_APPLY = "the database refused the row"
    NO_PLACE = "the old schema has no place for it"
    NO_PLACE_BACK = "the migrated schema has no place for it"
    OTHER_TYPE = "the column has another type in the migrated schema: the value was read as it stands"
    FIXED_KEY = "the migrated schema does not let a row's identity number be changed"
    NO_KEY = "rows of this table have no key"
    TRUNCATED = "the application emptied the table"
    NEWER = "newer than the snapshot: what the migration took from it is not in there"
    CHANGES_TOO_FAST = "the row changed faster than it could be repaired"


@dataclass(frozen=True, slots=True)
class Fates:
    """Counters of one back-out. `total` is the number of acknowledged writes they must add up to."""

    carried: int = 0
    archived: int = 0
    parked: int = 0
    listed: int = 0

    @property
    def total(self) -> int:
        """All writes made since the migration."""
        return self.carried + self.archived + self.parked + self.listed

    def plus(self, other: Fates) -> Fates:
        """Both together."""
        return Fates(
            self.carried + other.carried,
            self.archived + other.archived,
            self.parked + other.parked,
            self.listed + other.listed,
        )

    @classmethod
    def of(cls, fates: Iterable[Fate | None]) -> Fates:
        """Count them; None (nothing was written) counts nowhere."""
        seen = [fate for fate in fates if fate is not None]
        return cls(
            seen.count(Fate.CARRIED),
            seen.count(Fate.ARCHIVED),
            seen.count(Fate.PARKED),
            seen.count(Fate.LISTED),
        )
