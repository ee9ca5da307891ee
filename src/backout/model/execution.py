"""What happened when the plan was carried out, and whether it holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backout.model.check import Check


class Outcome(StrEnum):
    """The state of the target after `run`, as machines read it."""

    BACKED_OUT = "backed_out"
    UNTOUCHED = "untouched"
    IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True)
class KeptColumn:
    """One column (or whole rows) of kept values, from the manifest in the target."""

    object: str
    """Table as it was named before the down."""
    column: str
    """Empty for whole rows."""
    values: int
    rows: int
    key: tuple[str, ...]
    lsn: str
    kept_in: str
    """Qualified name of the table that holds them."""
    place_today: str = ""
    """Where put-back would write: `none`, or the column of today."""


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What was captured at a failure; no values of rows, no secrets."""

    tool_output: str
    sqlstate: str
    message: str
    statement: str
    sessions: tuple[str, ...]
    reproduced: bool | None = None
    """Whether the same failure came on a fresh copy; None = not tried."""


@dataclass(frozen=True, slots=True)
class Execution:
    """The result of carrying out a plan. `outcome` is what history and schema say, never the tool."""

    strategy: str
    outcome: Outcome
    tool: str
    tool_exit: int
    transactions: int
    xids: tuple[str, ...]
    locked_seconds: float
    waited_seconds: float
    seconds: float
    kept: tuple[KeptColumn, ...]
    values_destroyed: int
    values_kept: int
    statements: tuple[str, ...]
    committed_at: str
    how: str
    """`executed`, or `found done` when a resumed step looked and found the effect."""
    untouched: int = 0
    """Tables that the commit gate saw unwritten, with the same files."""
    diagnostics: Diagnostics | None = None

    @property
    def ended(self) -> str:
        """The outcome in words that fit the strategy: a half-applied migration is cleaned up or finished."""
        if self.outcome is not Outcome.BACKED_OUT:
            return self.outcome.value.replace("_", " ")
        return {"F-clean": "cleaned up", "F-finish": "finished"}.get(self.strategy, "backed out")


@dataclass(frozen=True, slots=True)
class Verification:
    """The checks after a back-out."""

    checks: tuple[Check, ...]
    at: str
    seconds: float


@dataclass(frozen=True, slots=True)
class WatchSample:
    """One look of the watch: did the migration come back?"""

    at: str
    history_has_it: bool
    schema_equal: bool
    came_back_by: str = ""


@dataclass(frozen=True, slots=True)
class Watch:
    """The end of a watch window."""

    seconds: float
    samples: int
    came_back: WatchSample | None
    stopped_early: bool
