"""Read the text of a data-only dump in constant memory: rows and SHA-256 a table, sequences, objects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import IO, Protocol

from backout.errors import Refused
from backout.model.snapshot import TableContents
from backout.postgres.names import qualified

_CHUNK = 1 << 20
_MODULUS = 1 << 256
_END = b"\n\\.\n"
_NAME = r'(?:"(?:[^"]|"")+"|[^\s".,()]+)'
_COPY = re.compile(rf"COPY ({_NAME})\.({_NAME}) (?:\(({_NAME}(?:, {_NAME})*)\))? ?FROM stdin;\n")
_SETVAL = re.compile(r"SELECT pg_catalog\.setval\('((?:[^']|'')*)', (-?\d+), (true|false)\);", re.DOTALL)
_ENCODING = re.compile(r"SET client_encoding = '([^']+)';")
_OBJECT_OPEN = re.compile(r"SELECT pg_catalog\.lo_open\('(\d+)', \d+\);")
_OBJECT_WRITE = re.compile(r"SELECT pg_catalog\.lowrite\(0, '\\{1,2}x([0-9a-f]*)'\);")
_CODECS = {"UTF8": "utf-8", "SQL_ASCII": "latin-1", "EUC_JIS_2004": "euc_jis_2004", "WIN1252": "cp1252"}


@dataclass(frozen=True, slots=True)
class DumpedTable:
    """What the dump holds of one table; `columns` in the order of its COPY."""

    schema: str
    name: str
    columns: tuple[str, ...]
    rows: int
    sha256: str

    @property
    def contents(self) -> TableContents:
        return TableContents(qualified(self.schema, self.name), self.rows, self.sha256)


@dataclass(frozen=True, slots=True)
class Sequence:
    """State of one sequence; `name` as the dump writes it, quoted where needed."""

    name: str
    value: int
    called: bool


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that a data-only stream holds. Large objects are one figure: their number, and the sum of
    the SHA-256 of each (oid and bytes), which does not depend on their order."""

    tables: tuple[DumpedTable, ...]
    sequences: tuple[Sequence, ...]
    large_objects: int
    large_objects_sha256: str


def read_contents(stream: IO[bytes], unordered: Collection[tuple[str, str]] = ()) -> Contents:
    """Read a data-only dump to its end. Raises `Refused` when it ends in the middle of something.

    For the tables named in `unordered` (schema, name) the figure is the sum of the SHA-256 of each row,
    which does not depend on their order; it costs about a microsecond a row.
    """
    reader = _Reader(stream, unordered)
    reader.read()
    return reader.contents()


def read_statements(stream: IO[bytes]) -> Iterator[bytes]:
    """The statements of a dump's text that holds no COPY data, each with its semicolon."""
    buffer = Buffer(stream)
    while (statement := buffer.statement()) is not None:
        yield statement


class _Reader:
    """Cuts the stream into statements and COPY data, and keeps only figures."""

    def __init__(self, stream: IO[bytes], unordered: Collection[tuple[str, str]]) -> None:
        self._buffer = Buffer(stream)
        self._unordered = unordered
        self._codec = "utf-8"
        self._tables: dict[tuple[str, str], DumpedTable] = {}
        self._sequences: list[Sequence] = []
        self._objects = 0
        self._objects_sum = 0
        self._object: Digest | None = None

    def read(self) -> None:
        while (statement := self._buffer.statement()) is not None:
            self._take(statement.decode(self._codec))

    def contents(self) -> Contents:
        tables = sorted(self._tables.values(), key=lambda table: (table.schema, table.name))
        objects = f"{self._objects_sum:064x}" if self._objects else ""
        sequences = tuple(sorted(self._sequences, key=lambda sequence: sequence.name))
        return Contents(tuple(tables), sequences, self._objects, objects)

    def _take(self, statement: str) -> None:
        if statement.startswith("COPY "):
            self._take_rows(statement)
        elif statement.startswith("SELECT pg_catalog.lo"):
            self._take_object(statement)
        elif found := _SETVAL.match(statement):
            name = found[1].replace("''", "'")
            self._sequences.append(Sequence(name, int(found[2]), found[3] == "true"))
        elif found := _ENCODING.match(statement):
            self._codec = _CODECS.get(found[1], found[1].lower())

    def _take_rows(self, statement: str) -> None:
        found = _COPY.fullmatch(statement)
        if found is None:
            raise Refused(
                f"the dump holds a COPY that is not understood: {statement[:200]!r}",
                where="the dump",
                intact="the database; the dump counts as not taken",
                next="backout snapshot take",
            )
        schema, name = _plain(found[1]), _plain(found[2])
        columns = tuple(_plain(column) for column in re.findall(_NAME, found[3] or ""))
        content: Digest = _RowSum() if (schema, name) in self._unordered else hashlib.sha256()
        rows = self._buffer.rows(content)
        digest = content.hexdigest()
        before = self._tables.get((schema, name))
        if before is not None:  # rows of several partitions, loaded through their root
            rows += before.rows
            digest = f"{(int(before.sha256, 16) + int(digest, 16)) % _MODULUS:064x}"
        self._tables[(schema, name)] = DumpedTable(schema, name, columns, rows, digest)

    def _take_object(self, statement: str) -> None:
        if found := _OBJECT_OPEN.match(statement):
            self._object = hashlib.sha256(found[1].encode() + b":")
        elif (found := _OBJECT_WRITE.match(statement)) and self._object is not None:
            self._object.update(bytes.fromhex(found[1]))
        elif statement.startswith("SELECT pg_catalog.lo_close(") and self._object is not None:
            self._objects += 1
            self._objects_sum = (self._objects_sum + int(self._object.hexdigest(), 16)) % _MODULUS
            self._object = None


class Digest(Protocol):
    """What takes bytes and gives 64 hex digits: a hash of `hashlib`, or `_RowSum`."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class _RowSum:
    """Sum of the SHA-256 of each row, fed in pieces that need not end with a row."""

    def __init__(self) -> None:
        self._row = hashlib.sha256()
        self._sum = 0

    def update(self, data: bytes | memoryview, /) -> None:
        *ends, rest = bytes(data).split(b"\n")
        for end in ends:
            self._row.update(end)
            self._sum += int.from_bytes(self._row.digest())
            self._row = hashlib.sha256()
        self._row.update(rest)
        self._sum %= _MODULUS

    def hexdigest(self) -> str:
        return f"{self._sum:064x}"


class Buffer:
    """A window on the stream: lines, and rows up to the end mark, holding no more than a chunk or two."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._data = b""
        self._at = 0

    def _more(self) -> bool:
        chunk = self._stream.read(_CHUNK)
        if not chunk:
            return False
        self._data = self._data[self._at :] + chunk
        self._at = 0
        return True

    def line(self) -> bytes | None:
        """The next line with its end; None at the end of the stream."""
        while (end := self._data.find(b"\n", self._at)) < 0:
            if not self._more():
                if self._at < len(self._data):
                    raise _torn("in the middle of a line")
                return None
        found = self._data[self._at : end + 1]
        self._at = end + 1
        return found

    def statement(self) -> bytes | None:
        """The next statement with its line ends; None at the end of the stream."""
        lines: list[bytes] = []
        quote = 0
        while (line := self.line()) is not None:
            if not lines and (line == b"\n" or line.startswith((b"--", b"\\"))):
                continue  # blank, comment, or a command of psql (`\restrict`)
            lines.append(line)
            quote = _open_quote(line, quote)
            if not quote and line.rstrip().endswith(b";"):
                return b"".join(lines)
        if lines:
            raise _torn("in the middle of a statement")
        return None

    def rows(self, content: Digest) -> int:
        """Feed all rows of a COPY into `content` and leave its end mark behind; returns their number."""
        while len(self._data) - self._at < len(_END) - 1:
            if not self._more():
                raise _torn("before the rows of a table")
        if self._data.startswith(_END[1:], self._at):
            self._at += len(_END) - 1
            return 0
        rows = 0
        # The end mark begins with the line end of the last row, so a value that ends in `\.` is no end.
        while (end := self._data.find(_END, self._at)) < 0:
            rows += self._pass_on(content, len(self._data) - len(_END) + 1)
            if not self._more():
                raise _torn("in the middle of the rows of a table")
        rows += self._pass_on(content, end + 1)
        self._at += len(_END) - 1
        return rows

    def _pass_on(self, content: Digest, until: int) -> int:
        if until <= self._at:
            return 0
        content.update(memoryview(self._data)[self._at : until])
        rows = self._data.count(b"\n", self._at, until)
        self._at = until
        return rows


def _open_quote(line: bytes, quote: int) -> int:
    """The quote character that is still open behind this line; 0 = none. A doubled one opens again."""
    for found in re.finditer(rb"['\"]", line):
        char = found[0][0]
        if not quote:
            quote = char
        elif quote == char:
            quote = 0
    return quote


def _plain(name: str) -> str:
    """The identifier without its quotes."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _torn(where: str) -> Refused:
    return Refused(
        f"the dump ends {where}: it is not whole",
        where="the dump",
        intact="the database; the dump counts as not taken",
        next="backout snapshot take",
    )
