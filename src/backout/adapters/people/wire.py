"""The wire encoding of SSH (RFC 4251, section 5): bytes with their length in front, and integers."""

from __future__ import annotations


class Malformed(ValueError):
    """Bytes that are not what the format says; the message names the part."""


def string(value: bytes) -> bytes:
    """`value` with its length in front, four bytes, big-endian."""
    return len(value).to_bytes(4, "big") + value


def mpint(value: int) -> bytes:
    """A non-negative integer in its shortest form; a leading zero keeps the sign bit clear."""
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big") if value else b"")


class Reader:
    """Takes SSH values off the front of some bytes; every method raises `Malformed` at a wrong byte."""

    __slots__ = ("_left",)

    def __init__(self, data: bytes) -> None:
        self._left = data

    def take(self, count: int) -> bytes:
        """The next `count` bytes as they are."""
        if count > len(self._left):
            raise Malformed("it ends too early")
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.uint32())

    def mpint(self) -> int:
        """A non-negative integer in the shortest form only, so that one number has one text."""
        raw = self.string()
        value = int.from_bytes(raw, "big")
        if mpint(value) != string(raw):
            raise Malformed("it holds an integer that is negative or not in the shortest form")
        return value

    def end(self) -> None:
        """Nothing may be left."""
        if self._left:
            raise Malformed(f"{len(self._left)} bytes follow its end")
