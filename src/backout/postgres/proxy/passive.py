"""A session that is only recorded: every byte passes as it came, in both directions."""

from __future__ import annotations

from backout.model.statement import Statement, StatementClass
from backout.postgres.proxy import frames
from backout.postgres.proxy.frames import Message, Oversized, Piece
from backout.postgres.proxy.relay import Relay, raw_of
from backout.postgres.proxy.seen import Reader, Recorder
from backout.postgres.proxy.texts import Texts

WHOLE_UP_TO = 256 * 1024
"""Longer messages of the tool are not held; the first part of their text is recorded."""


class PassiveSession:
    """Full duplex; the recorder looks on."""

    def __init__(self, relay: Relay, recorder: Recorder, reader: Reader) -> None:
        self._relay = relay
        self._recorder = recorder
        self._reader = reader
        self._texts = Texts()
        relay.on_server = self._answered

    def serve(self) -> None:
        """Until one side hangs up (`Hangup`)."""
        while True:
            piece = self._relay.receive()
            if piece is not None:
                if not isinstance(piece, bytes):
                    self._note(piece)
                self._relay.to_server(raw_of(piece))

    def _answered(self, piece: Piece) -> None:
        if isinstance(piece, Message):
            self._recorder.answered(piece)
        self._relay.to_tool(raw_of(piece))

    def _note(self, piece: Message | Oversized) -> None:
        body = piece.head if isinstance(piece, Oversized) else piece.body
        encoding = self._recorder.encoding
        match piece.kind:
            case b"Q":
                text = frames.cut_text(body, 0, encoding)[0]
                self._recorder.sent(self._read(text, whole=isinstance(piece, Message)))
                self._recorder.cycle()
            case b"P":
                self._texts.parsed(body, encoding)
            case b"B":
                self._texts.bound(body, encoding)
            case b"E":
                text = self._texts.executed(body, encoding) or ""
                self._recorder.sent(self._read(text, whole=True)[:1] or (_unread(text),))
            case b"C":
                self._texts.closed(body, encoding)
            case b"S":
                self._recorder.cycle()
            case b"F":
                self._recorder.sent((_unread("(function call)"),))
                self._recorder.cycle()

    def _read(self, text: str, *, whole: bool) -> tuple[Statement, ...]:
        return self._reader(text) if whole else (_unread(text),)


def _unread(text: str) -> Statement:
    return Statement(text, StatementClass.UNKNOWN, "")
