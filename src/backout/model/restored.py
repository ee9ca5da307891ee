"""Restore from backup as a story of its own: the point, the choice, the new instance, its smoke tests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backout.model.check import Check, all_good
from backout.model.loss import Figure
from backout.model.recovery import DumpMoment, RecoveryTarget


class PointKind(StrEnum):
    """How a person says where the restore is to end."""

    NEWEST = "newest"
    """The newest state that backups and WAL (without them: a snapshot) reach."""
    POSITION = "position"
    """A place in the WAL."""
    MIGRATION = "before migration"
    BACKUP = "at backup"
    SNAPSHOT = "snapshot"
    TIME = "time"
    """Resolved to a commit in the WAL: a clock is never a recovery target."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The point that was asked for. `inexact` = the last reachable one will do when WAL is missing."""

    kind: PointKind
    value: str = ""
    inexact: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """One backup or snapshot that was looked at; `why_not` is empty for the chosen one alone."""

    id: str
    kind: str
    taken_at: str
    whole_from: str
    size_bytes: int
    why_not: str


@dataclass(frozen=True, slots=True)
class Shortfall:
    """The point that was asked for cannot be reached, and how far behind it the last reachable one lies."""

    missing: str
    """The first WAL segment that is not there."""
    reached: str
    """The last reachable point, in words."""
    committed_at: str
    """RFC 3339: the commit that it ends with; empty when it ends with a backup."""
    lost: Figure
    """Transactions between the two: at most, or unknown. Never exact: their WAL is what is missing."""
    note: str

    def __str__(self) -> str:
        known = (
            f"at most {self.lost.count:,} transactions" if self.lost.count is not None else "unknown how much"
        )
        return f"{known} behind {self.reached} lost ({self.note})"


@dataclass(frozen=True, slots=True)
class Choice:
    """What is restored, from what, where, how large and how long: judged before anything is made."""

    wanted: Wanted
    target: RecoveryTarget | DumpMoment
    backup: str
    kind: str
    database: str
    major: int
    source: str
    """The production as it answered: database @ host:port; or that it does not."""
    source_position: str
    """Its WAL position then; empty when it did not answer."""
    offers: tuple[Offer, ...]
    directory: str
    """Below it the new instance is made."""
    restore_bytes: int
    """Size of the backup, and of the WAL that is replayed."""
    need_bytes: int
    free_bytes: int
    eta_seconds: float | None
    """None: nothing of this kind was restored here yet."""
    note: str
    """How the point was found."""
    heads: tuple[str, ...] | None
    """Migrations that the production lists, oldest first; None = it did not answer."""
    expected_head: str | None
    """Newest migration that the restored history has to list (empty: none at all); None = not known."""
    shortfall: Shortfall | None = None
    """Set = this restore is inexact."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The new instance, isolated, with the evidence that it ended where it should."""

    instance: str
    seconds: float
    bytes: int
    evidence: str
    """The server's own line, or how the program that restored it ended."""
    replayed_to: str
    """WAL position; empty for a dump."""
    directory: str
    notes: tuple[str, ...] = ()
    """What could not be carried over."""


@dataclass(frozen=True, slots=True)
class Smoked:
    """The smoke tests of the restored instance."""

    checks: tuple[Check, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        """True when no check failed and none is unknown."""
        return all_good(self.checks)


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The instance in the hands of a person."""

    connection: str
    """libpq connection string over its private socket; there is no password in it, and none is needed."""
    lease_until: str
    checks: tuple[Check, ...]
    """Durability and isolation, read back from the server; ANALYZE."""
