"""Traffic: how an application's writes are held, moved to another server, and released."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from backout.model.check import Check
from backout.model.cutover import Price, Promise, Warrant


@dataclass(frozen=True, slots=True)
class Address:
    """Where a side answers, as the application or its pooler reaches it."""

    host: str
    port: int
    database: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True)
class TrafficCapabilities:
    """What a lever can do, asked by name."""

    holds: bool
    """It can hold writes back without an error to a client."""
    promise: Promise
    reads_back: bool
    """It can say where every client or instance is led."""
    leaves_by_itself: bool
    """A hold ends by itself (or by the dead-man) without a person."""


@dataclass(frozen=True, slots=True)
class Act:
    """One statement of an undo or a completion; it looks before it acts, so it can be said again.

    `look` is asked first: when column `column` of the row that `row` describes is `want`, nothing is said.
    Errors that contain a text of `fine` are none.
    """

    on: str
    """Name of the link that it is said on."""
    say: str
    look: str = ""
    row: Mapping[str, str] = field(default_factory=dict)
    column: str = ""
    want: str = ""
    fine: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """How the dead-man opens a connection of its own. `password` is never printed, journalled or in argv."""

    host: str
    port: int
    user: str
    database: str
    password: str = field(default="", repr=False)
    tls: str = "prefer"
    """libpq's sslmode."""
    ca: str = ""
    speaks: str = "postgres"
    """`postgres`, or `haproxy`: its runtime API, which knows neither user nor database."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Whether writes are held; if not, who is in the way."""

    held: bool
    blockers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Led:
    """Where one client, pool or instance is led; `now` is None when it cannot be known."""

    who: str
    now: Address | None


class Traffic(Protocol):
    """One adapter a lever: a pooler, libpq's host list, a file and a restart.

    Order of the calls: `checks` (any time) · `keep_away` (before the new side answers) · `open` · `prepare`
    · `hold` · [`let_go`] · `switch` · `release` · `read_back` · `close`. Must: prove in `open` every session
    that `let_go` and `back` need, and keep it;
    leave traffic where it is until `switch`; make every call safe to repeat. `hold` must return within
    its time, held or not, and must not cost a client an error when `capabilities().holds`. `switch` spends
    the warrant: after it there is no way but forward; a warrant that was withdrawn must raise
    `errors.Stopped` and leave everything. `back` and `forward` are the same effects as data, for a
    dead-man without this code: `back` lets writes go on to where they went (the fence is already open
    then), `forward` completes a spent warrant and releases. Must never: read traffic as moved because it
    was told so (`read_back` asks), put a secret in argv or output. Errors: `NeighbourUnreachable` when
    the lever does not answer, `ConfigurationError` for what a person can mend.
    """

    name: str
    """`pgbouncer`, `multi-host`, `haproxy`, `file`, `command`."""

    def capabilities(self) -> TrafficCapabilities: ...

    def price(self) -> Price: ...

    def checks(self) -> tuple[Check, ...]:
        """Can this lever keep its promise here; each red one with what mends it. Never raises."""
        ...

    def keep_away(self) -> None:
        """The new side is about to answer over a network, long before the switch: see to it that no client
        is led there until then. Said while only we get in there; safe to repeat."""
        ...

    def open(self) -> None: ...

    def prepare(self, new: Address, token: str) -> Warrant:
        """Write what the switch needs beside what is in force; nothing moves."""
        ...

    def links(self) -> Mapping[str, Link]: ...

    def back(self) -> tuple[Act, ...]: ...

    def forward(self, new: Address) -> tuple[Act, ...]: ...

    def hold(self, seconds: float) -> Hold: ...

    def let_go(self) -> None:
        """Undo a hold, also one that was not granted, from another session than that of `hold`."""
        ...

    def switch(self, warrant: Warrant, seconds: float) -> None: ...

    def release(self, seconds: float) -> None: ...

    def read_back(self) -> tuple[Led, ...]: ...

    def close(self) -> None:
        """Close sessions and remove unspent files. Idempotent."""
        ...
