"""What a rollback destroys, counted; the words are settled in `docs/reference/words.md`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Basis(StrEnum):
    """How a figure is known."""

    EXACT = "exact"
    """Both sides were seen."""
    AT_MOST = "at_most"
    """An upper bound: rows whose xmin is neither the migration's nor older."""
    STALE = "stale"
    """Counted in a state older than the migration: what was written in between is in no count."""
    UNKNOWN = "unknown"


class LossKind(StrEnum):
    """What happens to the values."""

    COLUMN_GONE = "column gone"
    TABLE_GONE = "table gone"
    ROWS_GONE = "rows gone"
    VALUES_CHANGED = "values changed"


class DestroyedBy(StrEnum):
    """The two losses that never share a row: what this down destroys (and backout keeps), and what the
    up destroyed and the down does not give back (only B or D can)."""

    DOWN = "down"
    UP = "up"


@dataclass(frozen=True, slots=True)
class Figure:
    """A count with its basis. `count` is None exactly when the basis is unknown."""

    count: int | None
    basis: Basis

    @classmethod
    def exact(cls, count: int) -> Figure:
        return cls(count, Basis.EXACT)

    @classmethod
    def at_most(cls, count: int) -> Figure:
        return cls(count, Basis.AT_MOST)

    @classmethod
    def unknown(cls) -> Figure:
        return cls(None, Basis.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Loss:
    """One line of the loss report.

    `object` is the schema-qualified table as named before the down; `column` is empty for lines about
    whole rows. `values` counts non-NULL cells (for changed cells also NULL); `rows` counts rows.
    """

    object: str
    column: str
    kind: LossKind
    by: DestroyedBy
    values: Figure
    rows: Figure
    equal_to_default: int = 0
    written_since: Figure = Figure(None, Basis.UNKNOWN)
    """Of `values`, how many were written after the migration committed."""
    kept: bool = False
    """backout keeps these values (strategy A: in `backout_kept`)."""
    brought_back: bool = False
    """Of what the up destroyed: the repair of strategy D writes it back."""
    migration: str = ""
    """Which migration's down destroys it; matters when others stand above the offending one."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What an approval binds to: object, column, kind; never the count."""
        return (self.object, self.column, self.kind.value)


@dataclass(frozen=True, slots=True)
class SchemaDifference:
    """One difference between two schemas, object by object."""

    object: str
    change: str
    """`added`, `removed` or `changed`."""
    detail: str = ""
