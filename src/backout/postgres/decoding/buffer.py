"""Messages of one transaction, kept until its commit: in memory, and beyond a budget in a nameless file."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from backout.errors import Stopped

_LENGTH = struct.Struct(">I")
_READ = 1 << 20
DEFAULT_BUDGET = 16 << 20
_OVERHEAD = 64
"""Bytes that a message costs in memory beside its own."""


class Buffer:
    """Messages in order, appended once and read as often as wanted.

    The file has no name from its first moment on: whatever ends the process, nothing stays behind.
    """

    def __init__(self, directory: Path, budget: int = DEFAULT_BUDGET) -> None:
        self._directory = directory
        self._budget = budget
        self._memory: list[bytes] = []
        self._held = 0
        self._file: BinaryIO | None = None
        self.size = 0

    @property
    def in_memory(self) -> int:
        """Bytes of memory it holds now."""
        return self._held

    @property
    def spilled(self) -> bool:
        """Whether part of it lies in a file."""
        return self._file is not None

    def append(self, message: bytes) -> None:
        """Keep one message. Raises `Stopped` when the directory has no room."""
        self._memory.append(message)
        self.size += len(message)
        self._held += len(message) + _OVERHEAD
        if self._held > self._budget:
            self._spill()

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - closed by `close`
            self._file.write(b"".join(_LENGTH.pack(len(m)) + m for m in self._memory))
            self._file.flush()
        except OSError as error:
            raise Stopped(
                f"a transaction larger than {self._budget >> 20} MiB found no room: {error.strerror}",
                where=str(self._directory),
                intact="everything; nothing of this transaction was applied or acknowledged",
                next="make room there, then: backout resume",
            ) from error
        self._memory = []
        self._held = 0

    def __iter__(self) -> Iterator[bytes]:
        if self._file is not None:
            yield from _stored(self._file.fileno())
        yield from self._memory

    def close(self) -> None:
        """Forget everything, give the file back."""
        self._memory = []
        self._held = 0
        if self._file is not None:
            self._file.close()
            self._file = None


def _stored(descriptor: int) -> Iterator[bytes]:
    """Messages of a file; every walk has its own position, so that several may be under way."""
    position, rest = 0, b""
    while block := os.pread(descriptor, _READ, position):
        position += len(block)
        data, at = rest + block, 0
        while len(data) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, at)
            if len(data) - at - _LENGTH.size < length:
                break
            at += _LENGTH.size + length
            yield data[at - length : at]
        rest = data[at:]
