"""What the two passes of a rehearsal saw."""

from __future__ import annotations

from dataclasses import dataclass

from backout.model.loss import SchemaDifference
from backout.model.plan import Keep, LockForecast, LockSeen
from backout.model.statement import Statement


@dataclass(frozen=True, slots=True)
class Pass:
    """One run of the tool on a clone."""

    statements: tuple[Statement, ...]
    """Without the tool's own book-keeping."""
    transactions: int
    failure: str
    """Why the down did not happen; empty when the history says that it did."""
    seconds: float


@dataclass(frozen=True, slots=True)
class SchemaAfter:
    """The schema after the down, and how it compares."""

    digest: str
    differences: tuple[SchemaDifference, ...]
    basis: str
    """`before the up`, or `round trip`: down, up again, compared with the schema of now."""
    now: str
    """Digest of the schema before the down."""
    rewritten: tuple[str, ...]
    """Tables whose files the down replaced."""
    untouched: int


@dataclass(frozen=True, slots=True)
class Keeping:
    """The second pass, with everything kept."""

    failure: str
    kept_values: int
    attributes: tuple[tuple[str, str], ...]
    locks: tuple[LockSeen, ...]
    locked_seconds: float
    seconds: float
    wal_bytes: int
    kept_bytes: int
    copied: tuple[tuple[str, float], ...] = ()
    """(table, seconds) copied under the lock, of the transaction that held its locks longest."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The second pass as it is planned: the keeps with their ways, what it showed, both ways forecast."""

    keeps: tuple[Keep, ...]
    keeping: Keeping
    forecast: LockForecast | None


@dataclass(frozen=True, slots=True)
class Reproduced:
    """Whether a failure came again on a fresh copy; empty = it did not."""

    failure: str
