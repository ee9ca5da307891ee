"""One session's line to the server: hand the tool's messages on, slip statements of ours in between."""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backout.model.statement import Statement
from backout.postgres.proxy import frames
from backout.postgres.proxy.frames import Message, Piece, ProtocolViolation
from backout.postgres.proxy.policy import Rows
from backout.postgres.proxy.relay import SERVER_STREAMS, Relay, raw_of
from backout.postgres.proxy.seen import Recorder
from backout.postgres.proxy.wire import Hangup

_CANCEL_AGAIN = 2.0
"""Seconds after which a cancel that had no effect is sent once more."""
_CANCEL_GIVE_UP = 20.0


class InjectionFailed(Exception):
    """The server refused a statement of ours; `raw` is its ErrorResponse."""

    def __init__(self, raw: bytes, encoding: str) -> None:
        found = frames.fields(raw[5:], encoding)
        self.sqlstate = found.get("C", "")
        self.raw = raw
        super().__init__(found.get("M", "no reason given"))


class BudgetPassed(Exception):
    """The lock was held for longer than its budget; the statement was cancelled."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows (as text) and command tag of one injected statement."""

    rows: Rows
    tag: str


Query = tuple[str, Sequence[str | None]]


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """Something to do while an injected statement waits: `call`, once, after `seconds`."""

    seconds: float
    call: Callable[[], None]


class Pipe:
    """Sends, waits for ReadyForQuery, hands answers to the tool, never the ReadyForQuery itself.

    `state` is the transaction state of the server (`I`, `T`, `E`). While `deadline` (monotonic seconds)
    is set and passes, the running statement is cancelled and `BudgetPassed` raised once it has ended.
    """

    def __init__(self, relay: Relay, recorder: Recorder, cancel: Callable[[], None]) -> None:
        self.relay = relay
        self.state = b"I"
        self.deadline: float | None = None
        self.errors: list[dict[str, str]] = []
        """Errors of the current unit that the tool was told."""
        self._recorder = recorder
        self._cancel = cancel
        self._name = f"backout_{secrets.token_hex(4)}"
        self._ready = True
        self._copying = False
        self._offset = 0
        self._quiet = False
        self._cancelled_at: float | None = None
        relay.on_server = self._for_tool

    @property
    def encoding(self) -> str:
        return self._recorder.encoding

    @property
    def server_pid(self) -> int:
        """Process id of the server's session."""
        return self._recorder.server_pid

    # --- messages of the tool

    def send(self, messages: Sequence[bytes], statements: Sequence[Statement]) -> None:
        """Hand messages on without waiting: a batch that the tool has not ended with Sync yet."""
        self._recorder.sent(statements)
        for message in messages:
            self.relay.to_server(message)

    def exchange(
        self,
        messages: Sequence[bytes],
        statements: Sequence[Statement],
        *,
        offset: int = 0,
        quiet: bool = False,
        to_the_end: bool = False,
    ) -> None:
        """Hand on messages that end a cycle, relay the answers, return at ReadyForQuery.

        `offset` moves error positions when only a part of the tool's text is sent; `quiet` keeps notices
        and errors from the tool; `to_the_end` goes on even when the tool hangs up (a COMMIT).
        """
        self._offset, self._quiet = offset, quiet
        self.send(messages, statements)
        self._recorder.cycle()
        self._ready = False
        extended = messages[-1][:1] == b"S"
        while not self._ready:
            self._check_hangup(to_the_end)
            self.relay.pump(self._patience())
            if self._copying and not self._ready:
                self._copy_from_tool(extended)
            self._watch_deadline()
        self._copying = self._quiet = False
        self._raise_if_cancelled()

    def _copy_from_tool(self, extended: bool) -> None:
        """COPY FROM STDIN: data goes through until it is done (and, in the extended protocol, synced)."""
        while self._copying and self.relay.waiting and self.relay.has_room:
            piece = self.relay.receive()
            assert piece is not None
            self.relay.to_server(raw_of(piece))
            kind = piece.kind if isinstance(piece, Message) else b"d"
            if kind == b"S" or (kind in (b"c", b"f") and not extended):
                self._copying = False

    def _for_tool(self, piece: Piece) -> None:
        if isinstance(piece, Message):
            self._recorder.answered(piece)
            match piece.kind:
                case b"Z":
                    self.state = piece.body
                    self._ready = True
                    return
                case b"E":
                    self._tell_error(piece)
                    return
                case b"N" if self._quiet:
                    return
                case b"G" | b"W":
                    self._copying = True
        self.relay.to_tool(raw_of(piece))

    def _tell_error(self, piece: Message) -> None:
        self.errors.append(frames.fields(piece.body, self.encoding))
        if not self._quiet and self._cancelled_at is None:
            self.relay.to_tool(frames.shift_position(piece.raw, self._offset, self.encoding))

    # --- statements of ours

    def rows(self, query: str, *parameters: str | None) -> Rows:
        """See `policy.Injected`."""
        return self.inject([(query, parameters)])[0].rows

    def inject(
        self, queries: Sequence[Query], *, meanwhile: Meanwhile | None = None, to_the_end: bool = False
    ) -> list[Answer]:
        """Run statements of ours in one cycle, while nothing is outstanding.

        Named statement and portal: a simple query, or the unnamed ones, would destroy the tool's own
        unnamed statement. Raises `InjectionFailed` for the first that fails (the others did not run).
        """
        collector = _Collector(self.encoding, self.relay.to_tool)
        outer, self.relay.on_server = self.relay.on_server, collector
        self.relay.server_split.streamed = frozenset()
        begun = time.monotonic()
        try:
            ours = b"".join(self._frames_of(query) for query in queries)
            self.relay.to_server(self._close() + ours + frames.message(b"S"))
            while collector.state is None:
                self._check_hangup(to_the_end)
                self.relay.pump(self._patience(meanwhile, begun))
                if meanwhile is not None and time.monotonic() - begun >= meanwhile.seconds:
                    due, meanwhile = meanwhile, None
                    due.call()
                self._watch_deadline()
        finally:
            self.relay.on_server = outer
            self.relay.server_split.streamed = frozenset(kind[0] for kind in SERVER_STREAMS)
        self.state = collector.state
        self._recorder.settled(self.state)
        self._raise_if_cancelled()
        if collector.error is not None:
            raise InjectionFailed(collector.error, self.encoding)
        return collector.answers

    def _frames_of(self, query: Query) -> bytes:
        text, parameters = query
        name = frames.text(self._name)
        types = struct.pack("!H", len(parameters)) + struct.pack("!I", 25) * len(parameters)
        values = b"".join(_value(parameter, self.encoding) for parameter in parameters)
        bind = name + name + struct.pack("!HH", 0, len(parameters)) + values + struct.pack("!H", 0)
        parse = frames.message(b"P", name + frames.text(text, self.encoding) + types)
        execute = frames.message(b"E", name + struct.pack("!I", 0))
        return parse + frames.message(b"B", bind) + execute + self._close()

    def _close(self) -> bytes:
        """Close our portal and statement; also beforehand, since one that failed is still there."""
        name = frames.text(self._name)
        return frames.message(b"C", b"P" + name) + frames.message(b"C", b"S" + name)

    # --- time

    def idle(self, seconds: float) -> None:
        """Wait, while asynchronous messages pass; raises `Hangup` as soon as the tool goes away."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._check_hangup(False)
            self.relay.pump(left)

    @property
    def overdue(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _patience(self, meanwhile: Meanwhile | None = None, begun: float = 0.0) -> float | None:
        """How long one round may wait, seconds; None = for ever."""
        now = time.monotonic()
        limits = [] if meanwhile is None else [begun + meanwhile.seconds - now]
        if self._cancelled_at is not None:
            limits.append(self._cancelled_at + _CANCEL_AGAIN - now)
        elif self.deadline is not None:
            limits.append(self.deadline - now)
        return max(0.0, min(limits)) if limits else None

    def _watch_deadline(self) -> None:
        if not self.overdue:
            return
        now = time.monotonic()
        assert self.deadline is not None
        if now - self.deadline > _CANCEL_GIVE_UP:
            raise Hangup  # the server rolls back when the connection is gone
        if self._cancelled_at is None or now - self._cancelled_at > _CANCEL_AGAIN:
            self._cancelled_at = now
            self._cancel()

    def _raise_if_cancelled(self) -> None:
        if self._cancelled_at is not None:
            self._cancelled_at = self.deadline = None
            raise BudgetPassed

    def _check_hangup(self, to_the_end: bool) -> None:
        if self.relay.tool_gone and not to_the_end:
            raise Hangup


def _value(parameter: str | None, encoding: str) -> bytes:
    if parameter is None:
        return struct.pack("!i", -1)
    data = parameter.encode(encoding)
    return struct.pack("!I", len(data)) + data


class _Collector:
    """Takes the answers to statements of ours, so that the tool never sees them."""

    def __init__(self, encoding: str, to_tool: Callable[[bytes], None]) -> None:
        self.state: bytes | None = None
        self.error: bytes | None = None
        self.answers: list[Answer] = []
        self._encoding = encoding
        self._to_tool = to_tool
        self._rows: list[tuple[str | None, ...]] = []

    def __call__(self, piece: Piece) -> None:
        if not isinstance(piece, Message):
            raise ProtocolViolation("an answer to a statement of ours is too large to be read")
        match piece.kind:
            case b"D":
                self._rows.append(self._row(piece.body))
            case b"C" | b"I":
                tag = frames.cut_text(piece.body, 0, "ascii")[0]
                self.answers.append(Answer(tuple(self._rows), tag))
                self._rows = []
            case b"E":
                self.error = self.error or piece.raw
            case b"Z":
                self.state = piece.body
            case b"A" | b"S":
                self._to_tool(piece.raw)

    def _row(self, body: bytes) -> tuple[str | None, ...]:
        values: list[str | None] = []
        position = 2
        for _ in range(int.from_bytes(body[:2], "big")):
            length = struct.unpack_from("!i", body, position)[0]
            position += 4
            if length < 0:
                values.append(None)
            else:
                values.append(body[position : position + length].decode(self._encoding, "replace"))
                position += length
        return tuple(values)
