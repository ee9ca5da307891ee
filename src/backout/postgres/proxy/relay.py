"""Moves bytes between the tool and the server, both ways at once, in bounded memory."""

from __future__ import annotations

import selectors
from collections import deque
from collections.abc import Callable

from backout.postgres.proxy.frames import Message, Oversized, Piece, Splitter
from backout.postgres.proxy.wire import HIGH_WATER, Hangup, Wire

SERVER_STREAMS = (b"D", b"d", b"T", b"t", b"V")
"""Answers that nobody here reads: rows and their descriptions."""
TOOL_STREAMS = (b"d",)
_SERVER_WHOLE = 1 << 20
_LAST_WORDS_SECONDS = 2.0


class Relay:
    """Two wires and the queue of what the tool sent. Belongs to one thread.

    What the server sends goes to `on_server` as it comes; what the tool sends waits in a queue until
    `receive` takes it, and the tool is not read any further while much is waiting.
    """

    def __init__(self, tool: Wire, server: Wire, whole_up_to: int, woken: int) -> None:
        self.tool = tool
        self.server = server
        self.on_server: Callable[[Piece], None] = self._forward
        self.tool_gone = False
        self.server_split = Splitter(SERVER_STREAMS, _SERVER_WHOLE)
        self._tool_split = Splitter(TOOL_STREAMS, whole_up_to)
        self._inbox: deque[Piece] = deque()
        self._inbox_bytes = 0
        self._woken = woken
        """A file descriptor that becomes readable when the proxy closes."""
        self._selector = selectors.DefaultSelector()
        self._interest: dict[Wire, int] = {}
        self._selector.register(woken, selectors.EVENT_READ, None)

    def close(self) -> None:
        self._selector.close()
        if not self.tool_gone:
            self.tool.drain(_LAST_WORDS_SECONDS)
        self.tool.close()
        self.server.close()

    def _forward(self, piece: Piece) -> None:
        self.to_tool(raw_of(piece))

    def to_tool(self, data: bytes) -> None:
        """Send to the tool; a tool that went away is noted, not raised: the server may still commit."""
        if not self.tool_gone:
            try:
                self.tool.write(data)
            except Hangup:
                self.tool_gone = True

    def to_server(self, data: bytes) -> None:
        self.server.write(data)

    def receive(self, timeout: float | None = None) -> Piece | None:
        """The next piece from the tool; None when `timeout` (seconds) passed first.

        Meanwhile the server's answers are handed on. Raises `Hangup` when either side is gone.
        """
        while not self._inbox:
            if self.tool_gone:
                raise Hangup
            if not self.pump(timeout) and timeout is not None:
                return None
        piece = self._inbox.popleft()
        self._inbox_bytes -= len(raw_of(piece))
        return piece

    @property
    def waiting(self) -> bool:
        """Whether something from the tool is waiting to be received."""
        return bool(self._inbox)

    @property
    def has_room(self) -> bool:
        """Whether the server takes what it is sent fast enough to be sent more."""
        return self.server.backlog < HIGH_WATER

    def pump(self, timeout: float | None = None) -> bool:
        """One round: wait until something can be moved, move it. False when the time passed.

        Raises `Hangup` when the server is gone or the proxy closes.
        """
        if self.server.pending or (self.tool.pending and self._tool_readable()):
            timeout = 0.0
        self._watch(self.tool, self._tool_readable())
        self._watch(self.server, self.tool.backlog < HIGH_WATER)
        events = self._selector.select(timeout)
        ready = {key.data: mask for key, mask in events}
        if None in ready:
            raise Hangup
        moved = False
        if self.server in ready or self.server.pending:
            self.server.flush()
            moved |= self._read_server()
        if self.tool in ready or self.tool.pending:
            moved |= self._move_tool()
        return moved or bool(ready)

    def _tool_readable(self) -> bool:
        return not self.tool_gone and self._inbox_bytes < HIGH_WATER and self.server.backlog < HIGH_WATER

    def _watch(self, wire: Wire, readable: bool) -> None:
        interest = (selectors.EVENT_READ if readable else 0) | (selectors.EVENT_WRITE if wire.backlog else 0)
        if wire is self.tool and self.tool_gone:
            interest = 0
        before = self._interest.get(wire, 0)
        if interest == before:
            return
        if not interest:
            self._selector.unregister(wire.sock)
        elif not before:
            self._selector.register(wire.sock, interest, wire)
        else:
            self._selector.modify(wire.sock, interest, wire)
        self._interest[wire] = interest

    def _read_server(self) -> bool:
        if self.tool.backlog >= HIGH_WATER and not self.tool_gone:
            return False
        data = self.server.read()
        for piece in self.server_split.feed(data) if data else ():
            self.on_server(piece)
        return bool(data)

    def _move_tool(self) -> bool:
        try:
            self.tool.flush()
            data = self.tool.read() if self._tool_readable() else b""
        except Hangup:
            self.tool_gone = True
            return True
        for piece in self._tool_split.feed(data) if data else ():
            self._inbox.append(piece)
            self._inbox_bytes += len(raw_of(piece))
        return bool(data)


def raw_of(piece: Piece) -> bytes:
    """The bytes of a piece as they came; an announcement has none of its own."""
    if isinstance(piece, Message):
        return piece.raw
    return b"" if isinstance(piece, Oversized) else piece
