"""What execution sees when it looks at the target, before and after an attempt."""

from __future__ import annotations

from dataclasses import dataclass

from backout.model.execution import KeptColumn


@dataclass(frozen=True, slots=True)
class Sent:
    """How one statement of ours ended. `how` is `executed`, or `found done` when its effect was there."""

    statement: str
    how: str
    seconds: float
    waited: float
    felt: bool
    """It held a lock that others feel; CONCURRENTLY does not."""


@dataclass(frozen=True, slots=True)
class KeptValues:
    """What the down destroyed and what is kept of it, counted apart."""

    columns: tuple[KeptColumn, ...] = ()
    destroyed: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Sight:
    """The target as it is: what the history lists, which schema it has, whether a session of ours lives."""

    history_has_it: bool
    schema: str
    own_sessions: tuple[int, ...]
    kept_tables: int
