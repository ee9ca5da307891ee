"""What the proxy saw: sessions, statements, commits, refusals; frozen records and their writer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from backout.model.statement import Statement, StatementClass
from backout.postgres.proxy import frames

Reader = Callable[[str], tuple[Statement, ...]]
"""Cuts the text of a query into statements and classifies them."""


@dataclass(frozen=True, slots=True)
class SeenStatement:
    """One statement that ran. Bind values are never kept."""

    statement: Statement
    transaction: int
    """Counts from 1 within the session."""
    started_at: float
    """Seconds since the epoch."""
    seconds: float
    tag: str
    """The server's command tag; empty when it failed or never ended."""
    sqlstate: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A lock on a relation that a transaction held when it committed."""

    oid: int
    mode: str
    """As SQL spells it: `ACCESS EXCLUSIVE`."""
    seconds: float
    """From the statement that took it to the COMMIT."""


@dataclass(frozen=True, slots=True)
class SeenCommit:
    """One COMMIT of a transaction that had an xid, confirmed by the server."""

    xid: str
    transaction: int
    attributes: tuple[tuple[str, str], ...] = ()
    """Attribute list of every watched table at that moment; see `catalog.attributes`."""
    kept: tuple[str, ...] = ()
    """Names of the kept tables that commit with it."""
    lock_seconds: float = 0.0
    """The longest lock that somebody else's write to a table had to wait for, ours and the tool's."""
    locks: tuple[HeldLock, ...] = ()
    waited_seconds: float = 0.0
    """For which the locks of ours were waited for."""
    copied: tuple[tuple[str, float], ...] = ()
    """(table as the plan names it, seconds under the lock) of every copy of columns or a whole table."""


@dataclass(frozen=True, slots=True)
class SeenSession:
    """One session, as it stands now or ended."""

    number: int
    """Counts from 1 in order of arrival."""
    accepted_at: float
    application_name: str
    server_pid: int
    encrypted: bool
    """TLS between the tool and the proxy."""
    statements: tuple[SeenStatement, ...]
    commits: tuple[SeenCommit, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something the proxy did not let happen; the tool was told so."""

    what: str
    """`login`, `keep`, `gate`, `lock_timeout`, `lock_hold`, `disk`, `shape`, `commit of a failed
    transaction`; `tls` for a visitor that went away before it said who it is (nothing could be told to it);
    `fault` when the proxy itself failed and dropped the session."""
    sqlstate: str
    detail: str
    session: int = 0
    statement: str = ""


class Log:
    """Everything one proxy saw; written by its threads, read by anybody."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sessions: list[Recorder] = []
        self._refusals: list[Refusal] = []

    def open(self, recorder: Recorder) -> None:
        with self._lock:
            self._sessions.append(recorder)

    def next_number(self) -> int:
        with self._lock:
            return len(self._sessions) + 1

    def refuse(self, refusal: Refusal) -> None:
        with self._lock:
            self._refusals.append(refusal)

    @property
    def sessions(self) -> tuple[SeenSession, ...]:
        with self._lock:
            return tuple(recorder.seen() for recorder in self._sessions)

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        with self._lock:
            return tuple(self._refusals)


@dataclass(slots=True)
class _Waiting:
    """A statement that was sent; `None` in its place marks the end of a cycle (ReadyForQuery)."""

    statement: Statement
    started: float


@dataclass(slots=True)
class Recorder:
    """Matches the answers of the server to the statements that were sent, in order."""

    number: int
    application_name: str
    server_pid: int
    encrypted: bool
    accepted_at: float = field(default_factory=time.time)
    transaction: int = 0
    encoding: str = "utf-8"
    _open: bool = False
    _waiting: deque[_Waiting | None] = field(default_factory=deque)
    _statements: list[SeenStatement] = field(default_factory=list)
    _commits: list[SeenCommit] = field(default_factory=list)

    def sent(self, statements: Sequence[Statement]) -> None:
        """Statements were sent to the server, in this order."""
        now = time.time()
        self._waiting.extend(_Waiting(statement, now) for statement in statements)

    def cycle(self) -> None:
        """A message was sent that the server answers with ReadyForQuery."""
        self._waiting.append(None)

    def committed(self, commit: SeenCommit) -> None:
        """The server confirmed a COMMIT."""
        self._commits.append(commit)

    @property
    def transaction_now(self) -> int:
        """Number of the transaction that is open."""
        return max(1, self.transaction)

    def settled(self, state: bytes) -> None:
        """Statements of ours left the server in this transaction state."""
        opened = state != b"I" and not self._open
        self.transaction += opened
        self._open = state != b"I"

    def current(self) -> str:
        """Text of the statement that waits for its answer; empty when none does."""
        head = self._waiting[0] if self._waiting else None
        return head.statement.text if head is not None else ""

    def answered(self, message: frames.Message) -> None:
        """Take note of one message of the server."""
        match message.kind:
            case b"C" | b"I" | b"s":
                self._finish(frames.cut_text(message.body, 0, "ascii")[0], {})
            case b"E":
                self._finish("", frames.fields(message.body, self.encoding))
                while self._waiting and self._waiting[0] is not None:
                    self._waiting.popleft()  # the server skips to the end of the cycle
            case b"S":
                name, value = message.body.split(b"\0")[:2]
                if name == b"client_encoding":
                    self.encoding = frames.codec(value.decode())
            case b"Z":
                while self._waiting and self._waiting.popleft() is not None:
                    pass
                self._open = message.body != b"I"

    def _finish(self, tag: str, error: dict[str, str]) -> None:
        head = self._waiting[0] if self._waiting else None
        if head is None:
            return
        self._waiting.popleft()
        now = time.time()
        self._statements.append(self._seen(head, now, tag, error))
        if not error and head.statement.klass in (StatementClass.COMMIT, StatementClass.ROLLBACK):
            self._open = False
        following = self._waiting[0] if self._waiting else None
        if following is not None:
            following.started = now

    def _seen(self, entry: _Waiting, now: float, tag: str, error: dict[str, str]) -> SeenStatement:
        if not self._open:
            self.transaction += 1
            self._open = True
        return SeenStatement(
            entry.statement,
            self.transaction,
            entry.started,
            now - entry.started,
            tag,
            error.get("C", ""),
            error.get("M", ""),
        )

    def seen(self) -> SeenSession:
        """A frozen copy of what was seen so far; a statement that never ended stands last."""
        running = tuple(
            SeenStatement(entry.statement, self.transaction + (not self._open), entry.started, 0.0, "")
            for entry in list(self._waiting)[:1]
            if entry is not None
        )
        return SeenSession(
            self.number,
            self.accepted_at,
            self.application_name,
            self.server_pid,
            self.encrypted,
            tuple(self._statements) + running,
            tuple(self._commits),
        )
