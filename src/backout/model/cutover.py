"""The nouns of a cutover: its budget, what it promises and costs, what was measured, what is proved after."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backout.model.check import Check, CheckState


class Promise(StrEnum):
    """What clients notice of the move."""

    NO_ERRORS = "no errors"
    ONE_ERROR = "one error per client"
    RESTART = "restart of instances"


@dataclass(frozen=True, slots=True)
class Price:
    """What a move of traffic costs, by way of moving it; one row of the price table."""

    lever: str
    promise: Promise
    pause: str
    """The write pause of *this* target, in words; never another lever's figure."""
    needs: tuple[str, ...]
    unattended: str = ""
    """What happens when operator and dead-man are cut off together; empty: writes return by themselves."""


class Step(StrEnum):
    """The steps of the protocol, in order; the value is the word on the screen."""

    DEAD_MAN = "dead-man"
    HOLD = "held"
    FENCE = "fenced"
    WITNESS = "token"
    DRAIN = "drained"
    DURABLE = "durable"
    SEQUENCES = "sequences"
    WAY_BACK = "way back"
    SWITCH = "switched"
    RELEASE = "released"
    PROVE = "proved"

    @property
    def number(self) -> int:
        return tuple(Step).index(self)


@dataclass(frozen=True, slots=True)
class CutoverBudget:
    """Milliseconds for each step of the hold; together the longest time that writes are held.

    A step ends by the sum of the parts up to it, and the reserve: what one does not use, a later one may.
    """

    pause: int = 150
    fence: int = 100
    drain: int = 250
    durable: int = 40
    sequences: int = 40
    way_back: int = 80
    switch: int = 20
    release: int = 50
    reserve: int = 70

    @property
    def parts(self) -> dict[Step, int]:
        return {
            Step.HOLD: self.pause,
            Step.FENCE: self.fence,
            Step.WITNESS: 0,
            Step.DRAIN: self.drain,
            Step.DURABLE: self.durable,
            Step.SEQUENCES: self.sequences,
            Step.WAY_BACK: self.way_back,
            Step.SWITCH: self.switch,
            Step.RELEASE: self.release,
        }

    @property
    def total(self) -> int:
        return sum(self.parts.values()) + self.reserve

    def latest(self, step: Step) -> int:
        """Milliseconds after the hold began by which `step` has to be through."""
        order = list(self.parts)
        return sum(self.parts[s] for s in order[: order.index(step) + 1]) + self.reserve


@dataclass(frozen=True, slots=True)
class Warrant:
    """The permission to switch: one file, renamed once. Who renames it first, decides.

    Spending renames `prepared` to `final` (for a pooler its configuration); withdrawing renames it to
    `withdrawn`. A rename happens once, so controller and dead-man can never both have had their way.
    """

    prepared: str
    final: str
    withdrawn: str
    digest: str
    """SHA-256 of the prepared content: what `final` holds after the switch."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was made ready outside of the pause, and what an undo needs to know. No secrets."""

    token: str
    database: str
    limit_before: int
    """The database's own connection limit, put back by the unfence."""
    witness_slot: str
    witness_publications: tuple[str, ...]
    way_back: str
    """Name of the slot (and publication) of the way back, on the new side."""
    target_is_fenced: bool
    """Going back: the side that traffic moves to stands fenced from the first move; the switch opens it."""
    blind: tuple[str, ...]
    """Tables of which witness and way back see inserts only."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """When a step was through, in milliseconds since the hold began."""

    step: Step
    at_ms: float


@dataclass(frozen=True, slots=True)
class ClientView:
    """What the application's own measure says; the pause that counts."""

    longest_silence_ms: float
    slowest_write_ms: float
    errors: int


@dataclass(frozen=True, slots=True)
class Moved:
    """Traffic is on the new side."""

    token: str
    old: str
    """host:port of the side that is fenced."""
    new: str
    times: tuple[StepTime, ...]
    pause_attempts: int
    sequences: int
    fence_ended: int
    """Sessions that the fence had to end."""
    way_back: str
    way_back_until: str
    """RFC 3339; empty when no way back could be armed."""
    canary: Check
    how: str = "moved"
    """`moved`, or `found done` by a command after the one that moved it."""

    @property
    def hold_ms(self) -> float:
        return max((time.at_ms for time in self.times), default=0.0)


@dataclass(frozen=True, slots=True)
class StaleWrite:
    """A transaction that committed on the old side behind the fence."""

    lsn: str
    xid: int
    at: str


@dataclass(frozen=True, slots=True)
class CutoverProof:
    """Step 10: is the move complete? Anything but `pass` is said as *visibly not complete*."""

    sessions: tuple[str, ...]
    """Foreign sessions on the old side."""
    stale: tuple[StaleWrite, ...]
    elsewhere: tuple[str, ...]
    """Clients or instances that are not led to the new side."""
    unknown: tuple[str, ...]
    watched_seconds: float

    @property
    def checks(self) -> tuple[Check, ...]:
        return (
            _none("old side quiet", self.sessions, "no foreign session on the old side"),
            _none("witness", tuple(f"{w.lsn} (transaction {w.xid})" for w in self.stale), "no stale writer"),
            _none("read back", self.elsewhere, "every client is led to the new side", self.unknown),
        )

    @property
    def complete(self) -> bool:
        return all(check.state is CheckState.PASS for check in self.checks)


def _none(name: str, found: tuple[str, ...], good: str, unknown: tuple[str, ...] = ()) -> Check:
    if found:
        return Check(name, CheckState.FAIL, "; ".join(found[:3]))
    if unknown:
        return Check(name, CheckState.UNKNOWN, "; ".join(unknown[:3]))
    return Check(name, CheckState.PASS, good)
