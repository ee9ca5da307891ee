"""Follow a log continuously: every transaction of one database applied to another, each exactly once."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from backout.errors import NeighbourUnreachable, Stopped
from backout.model.changes import Change, RowChange, Transaction
from backout.model.check import Check, CheckState
from backout.model.fates import Fate
from backout.ports.handover import Lag
from backout.ports.world import Session
from backout.postgres import failures
from backout.postgres.activity import flushed_lsn
from backout.postgres.connect import open_session
from backout.postgres.decoding.stream import Source, Stream
from backout.postgres.decoding.transactions import Event
from backout.postgres.routing import make_writable
from backout.postgres.writes import memory, tables
from backout.postgres.writes.apply import Applier, Translation, open_target
from backout.postgres.writes.follow import Limits, follow
from backout.postgres.writes.parking import Named, Parking, Rejection
from backout.postgres.writes.statements import Write

_FAR_SECONDS, _NEAR_SECONDS = 0.25, 0.02
"""Length of a window. Near the cutover its delay is part of the write pause."""
_AGAIN_SECONDS = 0.5
_BREAKS = 20
"""Broken connections in a row, with nothing carried between them, after which following gives up; the next
command goes on."""
_LAG_SECONDS = 1.0
"""How long one measure of the lag waits at most."""
_POLL_SECONDS = 0.002
_END_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Route:
    """From which log into which database. `run` names the progress, `incident` the work list of people."""

    reads: str
    """Connection string of the database whose slot is read; may hold a secret."""
    slot: str
    publications: tuple[str, ...]
    armed: str | None
    writes: str
    """Connection string of the database that is written to."""
    run: str
    incident: str
    directory: Path
    """Takes transactions that are too large for memory."""
    name: str
    """`application_name` of every session."""

    def within(self, directory: Path) -> Route:
        """The same with a directory."""
        return replace(self, directory=directory)


class Counting(Translation, Protocol):
    """A translation that counts a fate for each change."""

    def fate(self, change: Change) -> Fate:
        """The one under which a change of the open window is counted, unless the target refuses it."""
        ...


class Naming(Counting, Protocol):
    """A translation that knows the rows of the target by their names there."""

    def named(self, change: RowChange) -> Named | None:
        """The row of a refused change, for the work list; None = it has no place there."""
        ...


Translate = Callable[[Session, ExitStack], Naming]
"""Makes the translation, given a session on the database that is written to; what it opens beside that is
closed with the stack."""


class Reading(Protocol):
    """What an applier needs of whatever its changes come from."""

    def tend(self) -> None:
        """Called now and then during long work."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


R = TypeVar("R", bound=Reading)
Watch = Callable[[Counting], Counting]
"""What stands between an applier and its translation."""
Opened = Callable[[Watch], AbstractContextManager[tuple[Stream, Applier]]]
"""Opens the log and the applier that it goes to."""


def _unwatched(translation: Counting) -> Counting:
    return translation


@contextmanager
def applying(
    route: Route, translate: Translate, read: Callable[[Source], R], watch: Watch = _unwatched
) -> Iterator[tuple[R, Applier]]:
    """An open source, and an applier that goes on where the last one stopped."""
    with ExitStack() as stack:
        admin = stack.enter_context(open_session(route.writes, route.name))
        make_writable(admin)
        progress = tables.take_over(admin, route.run)
        translation = translate(admin, stack)
        target = open_target(route.writes, route.name)
        stack.callback(target.session.close)
        make_writable(target.session)
        source = Source(
            route.reads, route.slot, route.publications, progress.lsn, route.name, route.armed or None
        )
        stream = read(source)
        stack.enter_context(stream)
        parking = Parking(target.session, route.run, route.incident, name=translation.named)

        def park(change: Change, why: Rejection) -> None:
            parking(change, why)
            memory.recount(target.session, route.run, translation.fate(change))

        applier = Applier(target.session, progress, watch(translation), park, alive=stream.tend)
        stack.callback(applier.close)
        yield stream, applier


@contextmanager
def spill() -> Iterator[Path]:
    """A directory for transactions that are too large for memory."""
    with tempfile.TemporaryDirectory(prefix="backout-log-") as directory:
        yield Path(directory)


class Tokens:
    """A translation that also remembers which of our tokens have become durable on the target."""

    def __init__(self, inner: Counting) -> None:
        self._inner = inner
        self._open: set[str] = set()
        self.durable: set[str] = set()

    def prepare(self, transactions: Sequence[Transaction]) -> None:
        self._inner.prepare(transactions)

    def writes(self, transaction: Transaction) -> Iterable[Write]:
        self._open |= {marker.text for marker in transaction.markers if marker.transactional}
        return self._inner.writes(transaction)

    def fate(self, change: Change) -> Fate:
        return self._inner.fate(change)

    def rolled_back(self) -> None:
        # The window is repeated at once, by the same applier: its tokens stay what they are.
        self._inner.rolled_back()

    def committed(self) -> None:
        self._inner.committed()
        self.durable |= self._open
        self._open.clear()


@dataclass(frozen=True, slots=True)
class _UntilStopped:
    """An end that another thread calls; it is heard within a tenth of a second."""

    stop: threading.Event

    def reached(self, event: Event) -> bool:
        return self.stop.is_set()


class Following:
    """`ports.handover.Drain` over our own replay, in a thread of its own.

    A broken connection is opened again, from what is durable by then. Any other error ends it; `checks` and
    `require_alive` then say why.
    """

    def __init__(self, route: Route, opened: Opened) -> None:
        """`route` names both ends; `opened` opens them, again after a broken connection."""
        self._route = route
        self._opened = opened
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="following", daemon=True)
        self._applier: Applier | None = None
        self._tokens: Tokens | None = None
        self._asks: Session | None = None
        self._why = ""
        self._limits = Limits(seconds=_FAR_SECONDS)

    def __enter__(self) -> Self:
        self._asks = open_session(self._route.reads, self._route.name)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._asks is not None:
            self._asks.close()

    @property
    def begun(self) -> bool:
        """Whether it follows at all."""
        return self._thread.ident is not None

    @property
    def lsn(self) -> int:
        """Everything of the source before this position is durable on the target."""
        applier = self._applier
        return applier.lsn if applier is not None else 0

    def checks(self) -> tuple[Check, ...]:
        if self._thread.is_alive() and not self._why:
            return (Check("replay", CheckState.PASS, "writes are carried over"),)
        why = self._why or "it has ended"
        return (Check("replay", CheckState.FAIL, why, "backout resume"),)

    def require_alive(self) -> None:
        """Raise what ended the replay."""
        if not self._thread.is_alive():
            raise Stopped(
                f"the replay has ended: {self._why or 'it said nothing'}",
                where=self._route.slot,
                intact="everything; what was carried is recorded, the slot keeps the rest",
                next=f"backout resume {self._route.incident}",
            )

    def lag(self) -> Lag:
        """Measured: how long what is committed now takes to become durable on the other side."""
        wanted = self._now()
        began = time.monotonic()
        while self.lsn < wanted and time.monotonic() - began < _LAG_SECONDS and self._thread.is_alive():
            time.sleep(_POLL_SECONDS)
        behind = max(0, self._now() - self.lsn)
        return Lag(time.monotonic() - began if self._thread.is_alive() else float("inf"), behind)

    def near(self) -> None:
        """From now on with short windows."""
        self._limits.seconds = _NEAR_SECONDS

    def behind(self) -> int:
        """Bytes of log that are not applied yet."""
        return max(0, self._now() - self.lsn)

    def spare(self) -> tuple[int, ...]:
        return (self._asks.info.backend_pid,) if self._asks is not None else ()

    def consumed(self, old: Session, token: str, lsn: str, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._thread.is_alive():
            if self._tokens is not None and token in self._tokens.durable:
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def stop(self) -> None:
        self._stop.set()
        if self.begun:
            self._thread.join(_END_SECONDS)

    def _now(self) -> int:
        assert self._asks is not None
        return flushed_lsn(self._asks)

    def _run(self) -> None:
        breaks = 0
        while not self._stop.is_set() and breaks < _BREAKS:
            before = self.lsn
            try:
                self._once()
            except NeighbourUnreachable as error:
                self._why, breaks = error.what, breaks + 1 if self.lsn == before else 1
                self._stop.wait(_AGAIN_SECONDS)
            except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to: who waits hears it
                self._why = failures.in_words(error)
                return

    def _once(self) -> None:
        with self._opened(self._watched) as (stream, applier):
            self._applier, self._why = applier, ""
            follow(stream, applier, _UntilStopped(self._stop), self._route.directory, limits=self._limits)

    def _watched(self, translation: Counting) -> Counting:
        self._tokens = Tokens(translation)
        return self._tokens


def following_log(route: Route, translate: Translate) -> Following:
    """Follow a slot through this translation."""
    return Following(route, lambda watch: applying(route, translate, Stream, watch))
