"""A plain SQL dump as pg_dump writes it, read piece by piece: statements, and the rows of each COPY.

psql is not asked to read it: a `\\!` in the file would be a command on this machine. What is sent to the
scratch server goes through the protocol.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from backout.errors import Refused
from backout.postgres.dump_stream import Buffer, Digest

COMPLETE = b"-- PostgreSQL database dump complete"
_HEADER = b"-- PostgreSQL database dump"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# psql writes and reads these two by itself since its fix for hostile dumps (August 2025).
_HARMLESS = (b"\\restrict", b"\\unrestrict")
_EDGES = re.compile(rb"--|/\*|\*/|[eE]?'|\"|\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The text of a dump, unpacked on the way: plain, gzip or zstd, told by its first bytes."""
    with path.open("rb") as raw:
        magic = raw.read(4)
        raw.seek(0)
        if magic.startswith(_GZIP):
            with gzip.open(raw) as unpacked:
                yield unpacked  # type: ignore[misc]  # a GzipFile reads like any binary stream
        elif magic == _ZSTD:
            with _zstd(path) as unpacked:
                yield unpacked
        else:
            yield raw


@contextmanager
def _zstd(path: Path) -> Iterator[IO[bytes]]:
    program = shutil.which("zstd")
    if program is None:
        raise Refused(
            "the dump is packed with zstd and no zstd program is on this machine",
            where=str(path),
            intact="everything",
            next="apt-get install zstd, then the same command again",
        )
    child = subprocess.Popen([program, "-dcq", str(path)], stdout=subprocess.PIPE)  # noqa: S603
    assert child.stdout is not None
    try:
        yield child.stdout
        if child.wait(60) != 0:
            raise _torn(path, "zstd cannot unpack it")
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def looks_plain(path: Path) -> bool:
    """Whether the file begins like a plain dump of pg_dump."""
    try:
        with opened(path) as stream:
            return _HEADER in stream.read(4096)
    except (OSError, EOFError):
        return False


@dataclass(slots=True)
class Dump:
    """A plain dump while it is read; `complete` once its last line was seen."""

    path: Path
    buffer: Buffer
    complete: bool = False
    skipped: list[str] = field(default_factory=list)

    def statements(self) -> Iterator[bytes]:
        """Each statement with its line ends. After a COPY … FROM stdin take `rows` before going on.

        Raises `Refused` for a psql command that is not harmless, and for a file that ends in the middle.
        """
        lines: list[bytes] = []
        state = _Open()
        while (line := self.buffer.line()) is not None:
            if not lines:
                if line.startswith(COMPLETE):
                    self.complete = True
                if line.strip() == b"" or line.startswith(b"--"):
                    continue
                if line.startswith(b"\\"):
                    self._meta(line)
                    continue
            lines.append(line)
            if state.closed_after(line) and line.rstrip().endswith(b";"):
                yield b"".join(lines)
                lines = []
        if lines:
            raise _torn(self.path, "it ends in the middle of a statement")

    def _meta(self, line: bytes) -> None:
        if line.startswith(_HARMLESS):
            return
        told = line.decode("utf-8", "replace").strip()
        raise Refused(
            f"the dump holds a command of psql, which backout does not run: {told[:60]}",
            where=str(self.path),
            intact="everything",
            next="make the dump of one database with pg_dump, without --create",
        )

    def rows(self, write: Callable[[bytes], object]) -> int:
        """Hand on the rows of the COPY that was just read; their number."""
        return self.buffer.rows(_Sink(write))


@dataclass(frozen=True, slots=True)
class _Sink(Digest):
    """Takes rows like a digest does, and hands them on."""

    write: Callable[[bytes], object]

    def update(self, data: bytes | memoryview, /) -> None:
        self.write(bytes(data))

    def hexdigest(self) -> str:
        return ""


class _Open:
    """What is still open at the end of a line: a string, a quoted name, a dollar quote, a block comment."""

    def __init__(self) -> None:
        self._closing = b""
        self._escapes = False
        self._depth = 0

    def closed_after(self, line: bytes) -> bool:
        """Read one more line; whether nothing is open behind it."""
        at = 0
        while at < len(line):
            at = self._inside(line, at) if self._closing or self._depth else self._outside(line, at)
        return not self._closing and not self._depth

    def _outside(self, line: bytes, at: int) -> int:
        found = _EDGES.search(line, at)
        if found is None or found[0] == b"--":
            return len(line)
        edge = found[0]
        if edge == b"/*":
            self._depth = 1
        elif edge != b"*/":
            self._escapes = edge in (b"e'", b"E'")
            self._closing = b"'" if edge.endswith(b"'") else edge
        return found.end()

    def _inside(self, line: bytes, at: int) -> int:
        if self._depth:
            found = re.compile(rb"/\*|\*/").search(line, at)
            if found is None:
                return len(line)
            self._depth += 1 if found[0] == b"/*" else -1
            return found.end()
        end = line.find(self._closing, at)
        backslash = line.find(b"\\", at) if self._escapes else -1
        if 0 <= backslash < end or (end < 0 <= backslash):
            return backslash + 2
        if end < 0:
            return len(line)
        behind = end + len(self._closing)
        self._closing = b""
        return behind


def _torn(path: Path, why: str) -> Refused:
    return Refused(
        f"the dump is not whole: {why}",
        where=str(path),
        intact="everything; the file was only read",
        next="adopt another backup",
    )


def read(path: Path, take: Callable[[Dump, bytes], None]) -> Dump:
    """Read a whole dump; `take` gets each statement. Raises `Refused` unless its last line is there."""
    with opened(path) as stream:
        dump = Dump(path, Buffer(stream))
        try:
            for statement in dump.statements():
                take(dump, statement)
        except (EOFError, OSError, gzip.BadGzipFile) as error:
            raise _torn(path, str(error)) from None
    if not dump.complete:
        raise _torn(path, "the line that ends every dump of pg_dump is missing")
    return dump
