"""Statements to one server in order, hundreds of them under way at once, prepared once for each text.

On libpq's pipeline itself: a cursor for each row costs more than the row.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psycopg
from psycopg import errors, pq

from backout.postgres.connect import Session
from backout.postgres.writes.statements import Write

_UNDER_WAY = 500
"""Statements between two looks at the answers."""
_WAIT = 1.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The first statement that the server refused; everything behind it was skipped."""

    write: Write
    error: psycopg.Error | None
    """None: it was carried out, but hit another number of rows than it must."""
    rows: int


@dataclass(frozen=True, slots=True)
class _Preparing:
    query: bytes
    name: bytes
    write: Write


class Pipe:
    """Use inside an open transaction; `run` leaves the session as psycopg expects it."""

    def __init__(self, session: Session, alive: Callable[[], None]) -> None:
        # psycopg deallocates every prepared statement at a ROLLBACK, ours too, once it has made one itself
        session.prepare_threshold = None
        self._pgconn = session.pgconn
        self._encoding = session.info.encoding
        self._alive = alive
        self._prepared: dict[bytes, bytes] = {}
        self._made = 0
        self._under_way: deque[Write | _Preparing | None] = deque()
        self._answered = False
        self._refusal: Refusal | None = None

    def run(self, writes: Iterable[Write]) -> Refusal | None:
        """Carry these out in order, up to the first that is refused."""
        self.open()
        try:
            for write in writes:
                self.send(write)
                if self._refusal is not None:
                    break
        finally:
            refusal = self.close()
        return refusal

    def open(self) -> None:
        """Begin to send."""
        self._refusal = None
        self._pgconn.enter_pipeline_mode()

    def send(self, write: Write) -> Refusal | None:
        """Queue one statement; the refusal when one is known by now (then nothing more is needed)."""
        name = self._prepared.get(write.query)
        if name is None:
            name = self._prepare(write)
        self._pgconn.send_query_prepared(
            name, [None if value is None else value.encode() for value in write.parameters]
        )
        self._under_way.append(write)
        if len(self._under_way) >= _UNDER_WAY:
            self._pgconn.send_flush_request()
            self._push(_UNDER_WAY // 2)
        return self._refusal

    def close(self) -> Refusal | None:
        """Wait for every answer; the first refusal, or None. The transaction is then aborted, if the server
        raised an error."""
        self._pgconn.pipeline_sync()
        self._under_way.append(None)
        self._push(0)
        self._pgconn.exit_pipeline_mode()
        return self._refusal

    def _prepare(self, write: Write) -> bytes:
        self._made += 1
        name = b"backout_%d" % self._made
        self._pgconn.send_prepare(name, write.query)
        self._under_way.append(_Preparing(write.query, name, write))
        self._prepared[write.query] = name
        return name

    def _push(self, leave: int) -> None:
        """Send and take in answers until at most `leave` statements are unanswered."""
        descriptor = self._pgconn.socket
        while True:
            unsent = self._pgconn.flush()
            self._take_answers()
            if len(self._under_way) <= leave:
                return
            ready, _, _ = select.select([descriptor], [descriptor] if unsent else [], [], _WAIT)
            if ready:
                self._pgconn.consume_input()
            self._alive()

    def _take_answers(self) -> None:
        while self._under_way and not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            waiting = self._under_way[0]
            if result is None:
                if not self._answered:
                    return
                self._answered = False
                self._under_way.popleft()
                continue
            if waiting is None:  # the answer to a sync has no end mark of its own
                self._under_way.popleft()
                continue
            self._answered = True
            self._judge(waiting, result)

    def _judge(self, waiting: Write | _Preparing, result: pq.abc.PGresult) -> None:
        failed = result.status in (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED)
        if isinstance(waiting, _Preparing):
            if not failed:
                return
            self._prepared.pop(waiting.query, None)
            waiting = waiting.write
        if self._refusal is not None:
            return
        rows = result.command_tuples or 0
        if failed:
            error = errors.error_from_result(result, self._encoding)
            self._refusal = Refusal(waiting, error, 0)
        elif waiting.rows is not None and rows != waiting.rows:
            self._refusal = Refusal(waiting, None, rows)
