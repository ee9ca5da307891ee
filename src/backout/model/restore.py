"""Strategy B: the restored instance, the writes that are carried onto it, and the move of traffic there."""

from __future__ import annotations

from dataclasses import dataclass

from backout.model.check import Check, CheckState
from backout.model.cutover import CutoverProof, Moved
from backout.model.fates import Fates
from backout.model.repair import RepairTable


@dataclass(frozen=True, slots=True)
class NewSide:
    """A restored instance with the old schema, which may become the server that the application uses."""

    instance: str
    database: str
    backup: str
    as_of: str
    """When the migration committed (RFC 3339): the instance ends just before that."""
    starts_at: str
    """Position of that commit: every transaction from here on has to come from the log."""
    seconds: float
    """What the restore took."""


@dataclass(frozen=True, slots=True)
class NoRestore:
    """No restore is offered in this round."""

    why: str


@dataclass(frozen=True, slots=True)
class LogSource:
    """Where the writes since the migration are read, and by what the migration's own are known."""

    guard: str
    slot: str
    publications: tuple[str, ...]
    armed: str
    """Snapshot of the time of arming; empty for a guard that did not note it."""
    xids: tuple[str, ...]
    """Top-level transactions of the migration."""


@dataclass(frozen=True, slots=True)
class Carried:
    """How far the writes were carried."""

    fates: Fates
    transactions: int
    upto: str
    """Position in the log of the old side."""
    seconds: float
    orphans: tuple[str, ...] = ()
    """Foreign keys of the new side with rows whose parent is missing."""
    tables: tuple[RepairTable, ...] = ()
    """Tables of the old schema that the log was carried into, for resolving parked rows."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around the old side and does not come along with a restored instance."""

    missing: tuple[str, ...]
    """In words that people repeat when they accept it: `standbys`, `archiving`, ..."""
    details: tuple[str, ...]
    """The same order, with names and numbers."""


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What people approve of a restore; part of the proposal and of its digest."""

    new: NewSide
    before: str
    """Name of the instance just before the migration."""
    migrated: str
    """Name of the instance just after it; nobody writes to either."""
    log: LogSource
    forecast: Carried
    """What the rehearsal carried onto the new side; the slot was not moved by it."""
    uncovered: tuple[str, ...]
    """Tables of which the log does not hold every write."""
    missing: tuple[str, ...]
    """What the new side will be without (see `Surroundings`)."""
    lever: str
    promise: str
    pause: str
    unattended: str
    address: str
    """host:port/database as the application will reach it."""
    listen: str
    hold_ms: int
    way_back_hours: float
    proof_seconds: float
    expected_schema: str = ""
    canary_seconds: float = 0.0
    """For how long instances that only read may try the new side before traffic moves."""


@dataclass(frozen=True, slots=True)
class CanaryReads:
    """Readers have tried the new side while every write still went to the old one."""

    seconds: float
    sessions: int
    """The most readers that were seen at once."""
    lag_bytes: int
    """The farthest that the new side was behind, in bytes of log."""
    checks: tuple[Check, ...]
    """The validation plan, asked on the new side at the end."""


@dataclass(frozen=True, slots=True)
class Serving:
    """The restored instance takes connections of the application."""

    address: str
    notes: tuple[str, ...]
    """What it could not take over from the old side, in words for people."""
    by_hand: str
    """Starts it after a reboot of its machine: nobody else does."""


@dataclass(frozen=True, slots=True)
class WayBackState:
    """How the way back stands."""

    armed: bool
    until: str
    """RFC 3339; then the next command gives it up."""
    expired: bool
    slot: str
    retained_bytes: int
    """WAL of the new side that it retains."""
    health: str
    """`reserved`, `extended`, `lost`, ...; `gone` when its slot is not there."""


@dataclass(frozen=True, slots=True)
class WentBack:
    """Traffic is on the old side again, with the migrated schema."""

    fates: Fates
    """Of all writes that were made on the new side."""
    moved: Moved
    proof: CutoverProof


@dataclass(frozen=True, slots=True)
class RestoreDone:
    """Traffic is on the restored instance."""

    carried: Carried
    """All writes made since the migration."""
    moved: Moved
    proof: CutoverProof
    serving: Serving
    canary_reads: CanaryReads | None = None

    @property
    def checks(self) -> tuple[Check, ...]:
        """The proof of the move, and what the writes broke, as checks of the verification."""
        broken = "; ".join(self.carried.orphans[:3])
        parents = Check(
            "foreign keys",
            CheckState.FAIL if broken else CheckState.PASS,
            f"rows without a parent: {broken}" if broken else "every row has its parent",
        )
        return (self.moved.canary, *self.proof.checks, parents)
