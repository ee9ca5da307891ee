"""What carries writes from the old side to the new one, and the way back: the replayer plugs in here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from backout.model.check import Check

if TYPE_CHECKING:
    from psycopg import Connection

Session: TypeAlias = "Connection[tuple[Any, ...]]"


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the new side is behind."""

    seconds: float
    bytes: int


class Drain(Protocol):
    """Carries committed writes from old to new.

    `consumed` must return True only when every transaction that committed on the old side before the
    token is committed on the new side; it returns within `seconds`. The token is a transactional logical
    message (prefix `backout`, content `token`) on the old side; `lsn` is at or behind its commit record.
    Must commit with `synchronous_commit = on` or be durable when `consumed` says so. Must mark what it
    writes with a replication origin.
    """

    def checks(self) -> tuple[Check, ...]: ...

    def lag(self) -> Lag: ...

    def spare(self) -> tuple[int, ...]:
        """Process ids of ordinary sessions on the old side that the fence must leave alone."""
        ...

    def consumed(self, old: Session, token: str, lsn: str, seconds: float) -> bool:
        """Wait until the new side has everything before the token. `old` is a session in the old database."""
        ...

    def stop(self) -> None:
        """End the forward direction; after it nothing of the old side reaches the new one. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Armed:
    """A way back that holds: a slot that retains every write of the new side since before the release."""

    name: str
    until: datetime
    blind: tuple[str, ...]
    """Tables whose updates and deletes it cannot carry (no replica identity)."""


class WayBack(Protocol):
    """Keeps what is written on the new side, so that traffic can go back without losing it.

    `prepare` runs outside of the pause, `arm` inside it, before any client is released; `arm` must return
    within `seconds` or raise. `follow` begins to carry new writes to the old side; it runs after the
    release and may take its time. `expired` is asked by every command; `drop` removes everything of it
    from both sides. All are safe to repeat.
    """

    def prepare(self, name: str) -> tuple[str, ...]:
        """Make what can be made before; names the tables that cannot be carried whole."""
        ...

    def arm(self, name: str, seconds: float) -> Armed: ...

    def follow(self, name: str) -> None: ...

    def expired(self, now: datetime) -> bool: ...

    def drop(self, name: str) -> None: ...
