"""The frames of PostgreSQL's protocol 3: cut a byte stream into messages, build the few we write."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from backout.errors import BackoutError

HEAD_SHOWN = 64 * 1024
"""Bytes of an oversized message that are shown to the reader, enough for the text of a statement."""


class ProtocolViolation(BackoutError):
    """The peer sent bytes that are no protocol 3 message."""


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message as it came over the wire."""

    kind: bytes
    """The type byte, e.g. `b"Q"`."""
    raw: bytes
    """The whole frame: type, length, body."""

    @property
    def body(self) -> bytes:
        return self.raw[5:]


@dataclass(frozen=True, slots=True)
class Oversized:
    """Announces a message too large to be held; its bytes follow as raw pieces."""

    kind: bytes
    length: int
    head: bytes
    """The first bytes of its body."""


Piece = Message | Oversized | bytes


class Splitter:
    """Cuts a stream into messages; kinds in `streamed` pass as raw bytes, in order, never held whole.

    Memory is bounded by `whole_up_to` (bytes): a longer message is announced as `Oversized` and then
    passes as raw pieces too.
    """

    def __init__(self, streamed: Iterable[bytes], whole_up_to: int) -> None:
        self.streamed = frozenset(kind[0] for kind in streamed)
        self._whole_up_to = whole_up_to
        self._buffer = bytearray()
        self._passing = 0

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Add received bytes; yield what became complete. Must be consumed to the end.

        Raises `ProtocolViolation` on an impossible length.
        """
        buffer = self._buffer
        buffer += data
        size = len(buffer)
        position = min(self._passing, size)
        self._passing -= position
        start = 0
        while size - position >= 5:
            kind = buffer[position]
            length = 1 + int.from_bytes(buffer[position + 1 : position + 5], "big")
            if length < 5:
                raise ProtocolViolation("a message with an impossible length")
            end = position + length
            oversized = length > self._whole_up_to
            if kind not in self.streamed and not oversized:
                if end > size:
                    break
                if start < position:
                    yield bytes(buffer[start:position])
                yield Message(bytes((kind,)), bytes(buffer[position:end]))
                start = position = end
                continue
            if oversized and kind not in self.streamed:
                if size - position < HEAD_SHOWN:
                    break
                if start < position:
                    yield bytes(buffer[start:position])
                    start = position
                yield Oversized(bytes((kind,)), length, bytes(buffer[position + 5 : position + HEAD_SHOWN]))
            self._passing = max(0, end - size)
            position = min(end, size)
        if start < position:
            yield bytes(buffer[start:position])
        del buffer[:position]


def message(kind: bytes, body: bytes = b"") -> bytes:
    """A whole frame."""
    return kind + struct.pack("!I", len(body) + 4) + body


def text(value: str, encoding: str = "utf-8") -> bytes:
    """A NUL-terminated string."""
    return value.encode(encoding, "surrogateescape") + b"\0"


def ready(state: bytes) -> bytes:
    """ReadyForQuery with transaction state `I`, `T` or `E`."""
    return message(b"Z", state)


def command_complete(tag: str) -> bytes:
    return message(b"C", text(tag))


def error(
    sqlstate: str,
    what: str,
    *,
    detail: str = "",
    hint: str = "",
    severity: str = "ERROR",
    encoding: str = "utf-8",
) -> bytes:
    """An ErrorResponse of ours."""
    fields = {"S": severity, "V": severity, "C": sqlstate, "M": what, "D": detail, "H": hint}
    return message(b"E", _pack_fields(fields, encoding))


def _pack_fields(fields: Mapping[str, str], encoding: str) -> bytes:
    packed = b"".join(code.encode() + text(value, encoding) for code, value in fields.items() if value)
    return packed + b"\0"


def fields(body: bytes, encoding: str = "utf-8") -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse by their one-letter code."""
    return {
        chr(part[0]): part[1:].decode(encoding, "surrogateescape")
        for part in body.split(b"\0")
        if len(part) > 1
    }


def shift_position(raw: bytes, offset: int, encoding: str) -> bytes:
    """The same ErrorResponse with its position moved by `offset` characters: we sent only a part of the
    text that the client wrote."""
    found = fields(raw[5:], encoding)
    if offset == 0 or "P" not in found:
        return raw
    found["P"] = str(int(found["P"]) + offset)
    return message(b"E", _pack_fields(found, encoding))


def cut_text(body: bytes, start: int, encoding: str) -> tuple[str, int]:
    """A NUL-terminated string of a body and the position behind it (a cut-off one ends with the body)."""
    end = body.find(b"\0", start)
    if end < 0:
        end = len(body)
    return body[start:end].decode(encoding, "replace"), end + 1


_ENCODINGS = {"UTF8": "utf-8", "SQL_ASCII": "utf-8", "WIN1252": "cp1252", "WIN1251": "cp1251"}
_ENCODINGS |= {f"LATIN{n}": f"iso8859-{n}" for n in range(1, 5)} | {"LATIN9": "iso8859-15"}


def codec(client_encoding: str) -> str:
    """Python's codec for a `client_encoding`; ASCII (with escapes) for one we do not know."""
    return _ENCODINGS.get(client_encoding.upper().replace("-", ""), "ascii")
