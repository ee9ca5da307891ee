"""What is read before a cutover: of both servers, of the lever, and of those who carry writes over."""

from __future__ import annotations

from dataclasses import dataclass

from backout.model.check import Check


@dataclass(frozen=True, slots=True)
class LagSample:
    """How far the new side was behind, and when, on a monotonic clock."""

    at: float
    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Facts:
    """The ground as it was read."""

    limit: int
    """Connection limit of the old database; 0 = somebody's fence stands."""
    target_limit: int
    """That of the new database; 0 = a fence of an earlier cutover, opened by the switch."""
    prepared_transactions: int
    longest_transaction: float
    longest_who: str
    superusers: tuple[str, ...]
    """Superuser sessions on the old database: no connection limit stops them."""
    application_is_superuser: bool
    application_enters_new: str
    """Empty, or why the application's login is not let into the new side."""
    canary: str
    """Empty, or why the application's login through the lever is refused."""
    fence_rights: str
    """Empty, or why fence and unfence could not be proved."""
    new_settings: tuple[tuple[str, str], ...]
    """Settings of the new side that decide whether an acknowledged write lasts."""
    unanalyzed: int
    """Tables with rows on the new side that the planner knows nothing of."""
    missing_sequences: tuple[str, ...]
    blind: tuple[str, ...]
    """Tables without a replica identity: updates and deletes are not seen by witness and way back."""
    lever: tuple[Check, ...]
    drain: tuple[Check, ...]
    lag: tuple[LagSample, ...]


@dataclass(frozen=True, slots=True)
class Readiness:
    """The preconditions of the pause, as they were judged."""

    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Leftover:
    """What was found of an earlier attempt, and which way it was settled."""

    way: str
    """`back`: writes go where they went before; `forward`: the move was completed."""
    number: int
