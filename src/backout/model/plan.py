"""The plan of a back-out, what its rehearsal showed, and the proposal people approve."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backout.model.loss import Loss, SchemaDifference
from backout.model.repair import RepairPlan
from backout.model.restore import RestorePlan
from backout.model.statement import Statement
from backout.model.target import TargetIdentity


class Strategy(StrEnum):
    """The ways to undo; the two F are for a migration that was applied only in part, and end with it out
    (clean up) or in (finish)."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    F_CLEAN = "F-clean"
    F_FINISH = "F-finish"

    @property
    def words(self) -> str:
        return {
            "A": "down, values kept",
            "B": "restore and merge",
            "C": "application first",
            "D": "repair in place",
            "F-clean": "clean up",
            "F-finish": "finish",
        }[self.value]


class Verdict(StrEnum):
    """What `propose` says of a strategy (see `docs/reference/verdicts.md`)."""

    RECOMMENDED = "recommended"
    POSSIBLE = "possible"
    ADVISED_AGAINST = "advised against"
    REFUSED = "refused"
    NOT_EXECUTABLE = "not executable"


class KeepHow(StrEnum):
    """How the values of one table are kept inside the tool's own transaction."""

    COLUMNS = "columns"
    """Copy key and columns before the first writing statement."""
    WHOLE_TABLE = "whole table"
    """Copy every row before the first writing statement (DROP TABLE, TRUNCATE)."""
    CHANGED_ROWS = "changed rows"
    """Catch deleted and changed rows by statement triggers made in the same transaction."""


class KeepWay(StrEnum):
    """When the columns of a table are copied. Both ways are complete to the last acknowledged write."""

    UNDER_LOCK = "under the lock"
    PRE_COPY = "pre-copy"
    """Before the tool starts; under the lock only what was written since."""


@dataclass(frozen=True, slots=True)
class Keep:
    """What to keep of one table. Names as they are before the down."""

    table: str
    """Quoted and schema-qualified, ready for SQL."""
    oid_on_target: int
    how: KeepHow
    key: tuple[str, ...]
    """Key columns (unquoted names); empty = no key, whole rows are kept."""
    columns: tuple[str, ...]
    """Columns to keep besides the key (unquoted); for WHOLE_TABLE all of them."""
    way: KeepWay = KeepWay.UNDER_LOCK


@dataclass(frozen=True, slots=True)
class KeepForecast:
    """How long one table would be copied under the lock, each way; seconds of the rehearsal, doubled."""

    table: str
    way: KeepWay
    """The one that is planned."""
    under_lock_seconds: float
    pre_copy_seconds: float | None
    """What is left to do under the lock after a pre-copy; None = not rehearsed."""
    reason: str = ""
    """Why there can be no pre-copy; empty = there can."""


@dataclass(frozen=True, slots=True)
class LockForecast:
    """How long the down would hold its locks, each way; seconds of the rehearsal, doubled: production is
    not as quiet as a clone."""

    under_lock_seconds: float
    """Every table copied under the lock."""
    pre_copy_seconds: float | None
    """The tables that can be copied before; None = not rehearsed."""
    tables: tuple[KeepForecast, ...] = ()
    reason: str = ""
    """Why the second way was not rehearsed, or is not planned."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """Limits that the plan carries and the approval covers, in seconds unless named otherwise."""

    lock_timeout: float = 0.2
    lock_patience: float = 120.0
    lock_hold: float = 1.0
    statement_timeout: float = 600.0
    lock_attempts: int | None = None
    """The most tries for one lock; None = as many as `lock_patience` has room for."""

    disk_bytes: int | None = None
    """Most that kept values may need on the target's disk; None = any."""

    def tried_enough(self, attempts: int) -> bool:
        """Whether so many tries for one lock are all that are allowed."""
        return self.lock_attempts is not None and attempts >= self.lock_attempts

    def too_much(self, kept_bytes: int) -> bool:
        """Whether kept tables of this size need more than the disk may give."""
        return self.disk_bytes is not None and disk_need(kept_bytes) > self.disk_bytes


def disk_need(kept_bytes: int) -> int:
    """What kept tables of this size need on the target's disk: themselves, and the WAL that holds them
    once more (until the archive or a standby has fetched it)."""
    return 2 * kept_bytes


@dataclass(frozen=True, slots=True)
class LockSeen:
    """A lock that the rehearsal saw the down hold."""

    table: str
    mode: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to back out, ready to be rehearsed."""

    strategy: Strategy
    migrations: tuple[str, ...]
    """Names, newest first, in the order they will be undone; the last is the offending one."""
    to_position: int
    """Position in the history that must remain (0 = nothing applied)."""
    reason: str = ""


class ToolVerb(StrEnum):
    """What the migration tool does after backout's own statements."""

    NONE = ""
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Finish:
    """Strategy F: statements that backout sends itself, each alone, then perhaps a verb of the tool."""

    steps: tuple[str, ...]
    verb: ToolVerb
    applied: int
    """Rows of the history before."""
    listed: bool
    """The history lists the migration before."""
    lists_after: bool
    invalid: tuple[str, ...]
    """Indexes that were invalid when this was planned; a step takes one only while it still is."""
    schema_between: str
    """Digest of the schema after the steps, before the tool."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What happened when a plan ran on a clone of the proven copy, through the real tool."""

    strategy: Strategy
    copy: str
    tool: str
    environment_digest: str
    succeeded: bool
    failure: str
    """The tool's and the server's own words when it failed; empty otherwise."""
    statements: tuple[Statement, ...]
    transactions: int
    losses: tuple[Loss, ...]
    keeps: tuple[Keep, ...]
    schema_after: str
    """Digest of the schema the rehearsal ended with = the expected schema of `verify`."""
    schema_before_up: str
    """Digest of the schema before the up, when it is known; else empty."""
    schema_differences: tuple[SchemaDifference, ...]
    """Against the schema before the up; else against down -> up -> the schema of now."""
    differences_basis: str
    """`before the up`, `round trip` or `unknown`."""
    locks: tuple[LockSeen, ...]
    rewrites: tuple[str, ...]
    non_transactional: tuple[str, ...]
    seconds: float
    locked_seconds: float
    wal_bytes: int
    kept_values: int
    """Values that the second pass, with keeping on, found in the kept tables."""
    kept_equals_destroyed: bool
    not_measured: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()
    attributes_after: tuple[tuple[str, str], ...] = ()
    """For every table of the plan: name before the down and its attribute list after it; the commit gate
    compares them."""
    history_in_transaction: bool = True
    untouched_tables: int = 0
    schema_now: str = ""
    """Digest of the schema before the down, on the copy; production must still have it at the gate."""
    finish: Finish | None = None
    repair: RepairPlan | None = None
    """Strategy D: what a repair after the down brought back on the clone."""
    kept_bytes: int = 0
    """Size of the kept tables on the clone."""
    restore: RestorePlan | None = None
    """Strategy B: the restored instance, and what was carried onto it."""
    lock_forecast: LockForecast | None = None
    """None where no column is copied."""


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the strategy table of a proposal."""

    strategy: Strategy
    verdict: Verdict
    reason: str
    lost: int | None
    kept: int | None
    pause_seconds: float | None
    total_seconds: float | None
    missing: str = ""
    would_change: str = ""


@dataclass(frozen=True, slots=True)
class PlannedMigration:
    """A migration of a proposal, as it was when it was rehearsed."""

    name: str
    sha256: str
    position: int


@dataclass(frozen=True, slots=True)
class SnapshotRef:
    """The proven snapshot a proposal stands on."""

    id: str
    sha256: str
    lsn: str
    scope: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """The document that people approve; its digest is SHA-256 over its canonical JSON.

    Fields are settled by the contract of the digest: whatever differs on re-computation, except
    `loss` counts, voids the approvals.
    """

    schema_version: int
    incident: str
    round: int
    target: TargetIdentity
    target_name: str
    environment: str
    migrations: tuple[PlannedMigration, ...]
    strategy: Strategy
    statements: tuple[str, ...]
    schema_fingerprint: str
    expected_schema: str
    loss: tuple[Loss, ...]
    keeps: tuple[Keep, ...]
    accept_by_name: tuple[str, ...]
    snapshot: SnapshotRef
    rehearsal_copy: str
    tool: str
    environment_digest: str
    validation_digest: str
    allowed_signers_digest: str
    budgets: Budgets
    window: str
    expires_at: str
    requested_by: str
    attributes_after: tuple[tuple[str, str], ...] = ()
    """What the commit gate compares: table as named before the down, its attribute list after it."""
    untouched_tables: int = 0
    """Tables that the rehearsal saw unwritten, with the same files."""
    rewrites: tuple[str, ...] = ()
    """Tables whose files the down replaces although it keeps their rows."""
    finish: Finish | None = None
    """For strategy F; covered by the digest like everything else."""
    repair: RepairPlan | None = None
    """For strategy D; covered by the digest too."""
    restore: RestorePlan | None = None
    """For strategy B; covered by the digest too."""

    @property
    def lists_after(self) -> bool:
        """Whether the history lists the migrations when this was carried out."""
        return self.finish is not None and self.finish.lists_after
