"""Apply whole transactions in strict commit order; rows and position commit together.

A window is one transaction of the target for many of the source. Nothing is coalesced: two rows that
exchange unique values within a window would collide. When the target refuses a row, the window is rolled
back and repeated in ever smaller pieces, in the same order, until the refused row stands alone; it is
parked, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Protocol, TypeVar

import psycopg

from backout.errors import BackoutError, NeighbourUnreachable, Refused, Stopped
from backout.model.changes import Change, Transaction
from backout.postgres.connect import Session, open_session
from backout.postgres.writes.parking import Rejection
from backout.postgres.writes.pipe import Pipe, Refusal
from backout.postgres.writes.statements import Write
from backout.postgres.writes.tables import Progress, move_progress

T = TypeVar("T")

# What a row can bring upon itself: duplicates, checks, missing partitions, values that cannot be read as
# the target's type, an exception of a trigger, TRUNCATE of what is referenced, another number for an identity
# that is ALWAYS generated. Everything else is about the whole target and ends the run.
PARKABLE = (
    psycopg.IntegrityError,
    psycopg.DataError,
    psycopg.errors.RaiseException,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.GeneratedAlways,
)
_PIECE = 512

Park = Callable[[Change, Rejection], None]
"""Writes into the session of the applier, in its open transaction."""


class Translation(Protocol):
    """Turns transactions of the source into statements for the target."""

    def prepare(self, transactions: Sequence[Transaction]) -> None:
        """Look up together what these will need; called before `writes` of each, and may do nothing."""

    def writes(self, transaction: Transaction) -> Iterable[Write]:
        """The statements of one transaction in order. Called again for the same transaction after
        `rolled_back`, and must then say the same."""

    def rolled_back(self) -> None:
        """Forget whatever was learnt since the last `committed`."""

    def committed(self) -> None:
        """What was learnt is now durable in the target."""


@dataclass
class Window:
    """Transactions that will commit together."""

    transactions: list[Transaction] = field(default_factory=list)
    size: int = 0

    def add(self, transaction: Transaction) -> None:
        self.transactions.append(transaction)
        self.size += transaction.size

    def clear(self) -> None:
        """Forget them, and give their buffers back."""
        for transaction in self.transactions:
            transaction.changes.close()
        self.transactions = []
        self.size = 0


class Applier:
    """One run on one target. Not for several threads."""

    def __init__(
        self,
        session: Session,
        progress: Progress,
        translation: Translation,
        park: Park,
        *,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """`progress` as `take_over` gave it; `alive` is called now and then during long work."""
        self.lsn = progress.lsn
        self.window = Window()
        self.parked = 0
        """How many changes this process has parked."""
        self._session = session
        self._run = progress.run
        self._epoch = progress.epoch
        self._translation = translation
        self._park = park
        self._pipe = Pipe(session, alive)
        self._refusal: Refusal | None = None

    def add(self, *transactions: Transaction) -> None:
        """Send the rows of these, in order; they commit with the window. The applier closes them."""
        with _explained(self._session):
            if not self.window.transactions:
                self._begin()
            self._translation.prepare(transactions)
            for transaction in transactions:
                self.window.add(transaction)
                if self._refusal is None:
                    self._send(transaction)

    def commit(self) -> int:
        """Commit the window with its position, and wait until it is durable; the position.

        When this raises, the window is rolled back, or its COMMIT is in doubt: what `take_over` answers
        the next process is true in both cases.
        """
        if not self.window.transactions:
            return self.lsn
        with _explained(self._session):
            refusal = self._pipe.close() or self._refusal
            if refusal is not None:
                self._repeat(refusal)
            lsn = self.window.transactions[-1].end_lsn
            move_progress(self._session, self._run, self._epoch, lsn, len(self.window.transactions))
            self._session.execute("COMMIT")
        self.lsn = lsn
        self._translation.committed()
        self.window.clear()
        return lsn

    def try_out(self, look: Callable[[Session], T]) -> T:
        """Everything of the window but its COMMIT: what `look` sees then, before all is rolled back."""
        with _explained(self._session):
            refusal = self._pipe.close() or self._refusal
            if refusal is not None:
                self._repeat(refusal)
            seen = look(self._session)
            self._session.execute("ROLLBACK")
        self._translation.rolled_back()
        self.window.clear()
        return seen

    def advance(self, lsn: int) -> int:
        """Record that nothing happened up to `lsn`; only between two windows."""
        if self.window.transactions or lsn <= self.lsn:
            return self.lsn
        with _explained(self._session), self._session.transaction():
            move_progress(self._session, self._run, self._epoch, lsn, 0)
        self.lsn = lsn
        return lsn

    def close(self) -> None:
        """Give the buffers back; an open window is rolled back with the session."""
        self.window.clear()
        self._session.close()

    def _begin(self) -> None:
        self._refusal = None
        self._session.execute("BEGIN")
        self._pipe.open()

    def _send(self, transaction: Transaction) -> None:
        for write in self._translation.writes(transaction):
            self._refusal = self._pipe.send(write)
            if self._refusal is not None:
                return

    def _repeat(self, refusal: Refusal) -> None:
        """The window once more, in pieces."""
        _require_parkable(refusal)
        self._session.execute("ROLLBACK")
        self._translation.rolled_back()
        self._session.execute("BEGIN")
        writes = chain.from_iterable(map(self._translation.writes, self.window.transactions))
        for piece in _pieces(writes, _PIECE):
            self._carefully(piece)

    def _carefully(self, piece: list[Write]) -> None:
        """All of these, or both halves one after the other; a single one that is refused is parked.

        A piece that succeeds as a whole is what its rows one by one would have been.
        """
        self._session.execute("SAVEPOINT backout_piece")
        refusal = self._pipe.run(write.thorough or write for write in piece)
        if refusal is None:
            self._session.execute("RELEASE backout_piece")
            return
        change = _require_parkable(refusal)
        self._session.execute("ROLLBACK TO backout_piece")
        self._session.execute("RELEASE backout_piece")
        if len(piece) > 1:
            half = len(piece) // 2
            self._carefully(piece[:half])
            self._carefully(piece[half:])
            return
        if piece[0].thorough is None or not self._plainly(piece[0]):
            self._park(change, _rejection(refusal))
            self.parked += 1

    def _plainly(self, write: Write) -> bool:
        """The row of a thorough write cannot be stored whole; perhaps it is there, and need not be."""
        self._session.execute("SAVEPOINT backout_piece")
        refusal = self._pipe.run([write])
        if refusal is not None:
            _require_parkable(refusal)
            self._session.execute("ROLLBACK TO backout_piece")
        self._session.execute("RELEASE backout_piece")
        return refusal is None


def _pieces(writes: Iterable[Write], size: int) -> Iterator[list[Write]]:
    rest = iter(writes)
    while piece := list(islice(rest, size)):
        yield piece


def _require_parkable(refusal: Refusal) -> Change:
    """The change that a refusal is about; raises when it is not the row's own fault."""
    if refusal.error is not None and not isinstance(refusal.error, PARKABLE):
        raise refusal.error
    if refusal.write.change is None:
        raise refusal.error or Refused(
            f"bookkeeping of ours hit {refusal.rows} rows, not {refusal.write.rows}",
            where="the target",
            intact="everything; the window was rolled back",
            next="backout status",
        )
    return refusal.write.change


def _rejection(refusal: Refusal) -> Rejection:
    if refusal.error is None:
        return Rejection(f"{refusal.rows} rows were hit, not {refusal.write.rows}", "")
    told = refusal.error.diag.message_primary or str(refusal.error)
    return Rejection(told, refusal.error.sqlstate or "")


@contextmanager
def _explained(session: Session) -> Iterator[None]:
    """Errors of the target become errors that help. After any error the session is ended: in the middle of a
    pipeline it cannot be used again, and its end rolls the window back."""
    try:
        yield
    except psycopg.Error as error:
        broken = session.pgconn.status != psycopg.pq.ConnStatus.OK
        session.close()
        raise _explanation(error, broken) from error
    except BaseException:
        session.close()
        raise


def _explanation(error: psycopg.Error, broken: bool) -> BackoutError:
    text = error.diag.message_primary or (str(error).strip() or "no reason given").splitlines()[-1]
    intact = "everything; the window was rolled back, or its commit is recorded with its position"
    if broken:
        return NeighbourUnreachable(
            f"the target went away: {text}",
            where="the target",
            intact=intact,
            next="backout resume",
        )
    if isinstance(error, psycopg.OperationalError):
        return Stopped(
            f"the target did not take a window: {text}",
            where="the target",
            intact=intact,
            next="backout resume",
        )
    return Refused(
        f"the target cannot take these changes: {text}",
        where="the target",
        intact=intact,
        next="backout status",
    )


@dataclass(frozen=True, slots=True)
class Target:
    """An open session that applies."""

    session: Session
    bypasses: bool
    """The role may set session_replication_role: ordinary triggers and foreign keys stay silent. Else they
    fire, and what a trigger wrote on the source is written twice."""


def open_target(dsn: str, application_name: str) -> Target:
    """A session whose commits are durable when they are answered, with every text form pinned.

    Raises `Refused` when the server cannot promise that.
    """
    session = open_session(dsn, application_name)
    try:
        _require_durable(session)
        bypasses = _bypass_triggers(session)
    except BaseException:
        session.close()
        raise
    return Target(session, bypasses)


def _require_durable(session: Session) -> None:
    session.execute("SET synchronous_commit = on")
    row = session.execute("SELECT pg_catalog.current_setting('fsync')").fetchone()
    if row != ("on",):
        raise Refused(
            "the target runs with fsync = off: a commit it has answered may be gone after a crash",
            where=session.info.dbname,
            intact="everything; nothing was applied",
            next="set fsync = on there, reload, then: backout resume",
        )


def _bypass_triggers(session: Session) -> bool:
    try:
        session.execute("SET session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True
