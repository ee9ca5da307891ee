"""What is known of one transaction of the tool: what it did, what we kept in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backout.model.plan import Keep
from backout.model.statement import Statement
from backout.postgres.proxy.capture import Capture
from backout.postgres.proxy.policy import PreCopy
from backout.postgres.proxy.tables import Tables


class NotLet(Exception):
    """The proxy does not let this happen: roll back, tell the tool, record it."""

    def __init__(self, what: str, sqlstate: str, detail: str) -> None:
        super().__init__(detail)
        self.what = what
        self.sqlstate = sqlstate
        self.detail = detail


GATE, KEEP, HOLD, SHAPE, DISK = "BO001", "BO002", "BO003", "BO004", "BO005"
"""SQLSTATEs of our refusals: commit gate, keeping failed, lock held too long, shape not supported, disk."""
LOCK_NOT_AVAILABLE = "55P03"


@dataclass(slots=True)
class Copy:
    """A kept table filled before the down: columns or whole table."""

    keep: Keep
    oid: int
    sequence: int
    kept: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    rows: int
    values: int
    """Non-NULL cells of these columns in the table itself, counted under the lock."""
    seconds: float = 0.0
    """Under the lock, for copying and counting."""
    before: PreCopy | None = None
    """What it was made from; holds rows then that were deleted before the lock."""
    live_rows: int = 0
    """Rows of the table itself with a value in these columns (for a pre-copy)."""


@dataclass(slots=True)
class Caught:
    """Rows caught by triggers. `keep` is None for a guard: nothing of that table may be destroyed."""

    capture: Capture
    sequence: int
    keep: Keep | None


@dataclass(slots=True)
class Transaction:
    """From the first statement to COMMIT or ROLLBACK."""

    ours: bool = False
    """We opened it around one statement of an autocommit session."""
    isolated: bool = False
    """Above READ COMMITTED: one snapshot for all statements."""
    read: bool = False
    """The tool has read something: a snapshot may be taken."""
    wrote: bool = False
    marked: bool = False
    locked_at: float | None = None
    """When our own locks were granted (monotonic seconds)."""
    sent_at: float = 0.0
    """When the latest statements that write were sent (monotonic seconds)."""
    waited: float = 0.0
    """Seconds for which our locks were waited for."""
    held: dict[tuple[int, str], float] = field(default_factory=dict)
    """(relation, mode) of every lock seen at the last look, and since when."""
    baseline: Tables | None = None
    copies: list[Copy] = field(default_factory=list)
    caught: list[Caught] = field(default_factory=list)
    handled: set[int] = field(default_factory=set)
    """Positions in the plan of the keeps that were carried out in this transaction."""
    row_counts: dict[int, int] = field(default_factory=dict)
    """Rows before, of tables that the rehearsal saw rewritten."""
    statements: list[Statement] = field(default_factory=list)
    """Those that write, as sent."""
    reshaped: bool = False
    """Something changed the schema since the trigger functions were written."""

    @property
    def tables(self) -> Tables:
        """The tables before the first write."""
        return self.baseline if self.baseline is not None else {}

    def caught_of(self, oid: int) -> list[Caught]:
        """What catches rows of this table."""
        return [entry for entry in self.caught if entry.capture.table.oid == oid]


Done = Mapping[str, frozenset[str]]
"""What earlier transactions of this incident kept: columns by table."""
