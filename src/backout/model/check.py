"""The one shape for gate, preflight and verification: a named check with a state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class CheckState(StrEnum):
    """`unknown` is not `pass`; what is not configured is `skipped`."""

    PASS = "pass"  # noqa: S105
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One named check: what was found, and what mends it when it is not `pass`."""

    name: str
    state: CheckState
    detail: str
    mend: str = ""

    @property
    def good(self) -> bool:
        """Whether this check lets the story go on: pass, warn and skipped do."""
        return self.state in (CheckState.PASS, CheckState.WARN, CheckState.SKIPPED)


def all_good(checks: Iterable[Check]) -> bool:
    """True when no check failed and none is unknown."""
    return all(check.good for check in checks)
