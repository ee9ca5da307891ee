"""What a cutover stands on: the ports, the logins, and the sessions that are open before anything is held."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from backout.errors import NeighbourUnreachable, Refused
from backout.model.cutover import CutoverBudget, Step
from backout.ports.handover import Drain, WayBack
from backout.ports.traffic import Address, Link, Traffic
from backout.postgres.connect import Session, fenced, open_session, place
from backout.postgres.routing import make_writable

Told = Callable[[Step, str, float], None]
"""Hears of every step: `before` and `after`, with the milliseconds since the hold began."""


def _silent(step: Step, when: str, at_ms: float) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Logins:
    """Connection strings, never printed. Each is proved before the fence, and the fence is refused if not."""

    old: str = field(repr=False)
    """The operator's role on the old side, in the application's database."""
    old_elsewhere: str = field(repr=False)
    """The same role in another database of that cluster: the limit of the fence locks out its own owner."""
    old_second: str = field(default="", repr=False, kw_only=True)
    """Another role of ours in the application's database: a superuser looks at the witness over a fence."""
    old_application: str = field(repr=False)
    """A login without superuser, direct to the old side; used only to try the fence."""
    new: str = field(repr=False)
    new_elsewhere: str = field(repr=False)
    new_application: str = field(repr=False)
    """The application's login, direct to the new side; proves that the pooler will be let in."""
    canary: str = field(repr=False)
    """The application's login through the lever."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Everything that the cutover of one target uses."""

    target: str
    incident: str
    traffic: Traffic
    drain: Drain
    way_back: WayBack
    logins: Logins
    links: dict[str, Link]
    """`old` and `new`: how the dead-man opens the fence, through another database of each cluster."""
    new: Address
    """The new side as the lever leads to it."""
    budget: CutoverBudget
    now: Callable[[], datetime]
    told: Told = _silent
    dead_man_command: tuple[str, ...] = ()
    margin: int = 1000


@dataclass(frozen=True, slots=True)
class Sessions:
    """Open and proved before the fence; what the abort needs beside them is opened by `move`."""

    name: str
    """Their application_name, of this process alone: the dead-man ends them by it."""
    inside: Session | None
    """In the old database; None when a fence that stands keeps this role out."""
    fence: Session
    new: Session

    @property
    def old(self) -> Session:
        if self.inside is None:
            raise Refused(
                "the fence keeps this role out of the old database",
                where=place(self.fence.info.dsn),
                intact="everything; the fence stands as it was",
                next="use the process that fenced it, or a superuser",
            )
        return self.inside

    @property
    def ours_on_old(self) -> tuple[int, ...]:
        return () if self.inside is None else (self.inside.info.backend_pid,)


@contextmanager
def sessions(ground: Ground) -> Iterator[Sessions]:
    """Open them all; they are closed at the end, whatever happened to them."""
    name = f"backout/{ground.incident}/x{secrets.token_hex(4)}"
    with ExitStack() as stack:
        fence = stack.enter_context(_open(ground.logins.old_elsewhere, name))
        new = stack.enter_context(_open(ground.logins.new, name))
        logins = filter(None, (ground.logins.old, ground.logins.old_second))
        found = (_unless_fenced(dsn, name) for dsn in logins)
        old = next((session for session in found if session is not None), None)
        if old is not None:
            stack.enter_context(old)
        yield Sessions(name, old, fence, new)


def _unless_fenced(dsn: str, name: str) -> Session | None:
    try:
        return _open(dsn, name)
    except NeighbourUnreachable as refusal:
        if not fenced(refusal):
            raise
        return None


def _open(dsn: str, name: str) -> Session:
    session = open_session(dsn, name, statement_timeout_ms=10_000)
    make_writable(session)
    return session
