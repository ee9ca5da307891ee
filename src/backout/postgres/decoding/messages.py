"""Messages of pgoutput, protocol version 1, with logical decoding messages: bytes in, records out; pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from backout.errors import Refused
from backout.model.changes import UNCHANGED, Cell, ChangedColumn, ChangedRelation, OldImage, ReplicaIdentity


class UnreadableStream(Refused):
    """The server sent what this version of backout cannot read; nothing of that transaction was applied."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the change stream cannot be read: {why}",
            intact="the slot and everything applied so far; nothing of this transaction was applied",
            next="backout doctor",
        )


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction's changes follow."""

    final_lsn: int
    committed_at: datetime
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The transaction's changes are complete."""

    commit_lsn: int
    end_lsn: int
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the transaction came from."""

    lsn: int
    name: str


@dataclass(frozen=True, slots=True)
class Type:
    """A type that is not built in, named before a column of it appears."""

    oid: int
    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class Insert:
    relation: int
    new: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Update:
    relation: int
    image: OldImage
    old: tuple[Cell, ...]
    new: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    relation: int
    image: OldImage
    old: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Truncate:
    relations: tuple[int, ...]
    cascade: bool
    restart_identity: bool


@dataclass(frozen=True, slots=True)
class Message:
    """A logical decoding message, of anybody."""

    transactional: bool
    lsn: int
    prefix: str
    content: bytes


Parsed = Begin | Commit | Origin | ChangedRelation | Type | Insert | Update | Delete | Truncate | Message

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_LATER_PROTOCOLS: Mapping[int, str] = {
    **dict.fromkeys(b"SEcA", "a transaction streamed before its commit (protocol 2)"),
    **dict.fromkeys(b"bPKrp", "a prepared transaction (protocol 3)"),
}
_IMAGES = {ord("K"): OldImage.KEY, ord("O"): OldImage.FULL}
_NEW = ord("N")
_TEXT, _NULL, _UNCHANGED = b"tnu"
_U16, _I32, _U32, _U64 = (struct.Struct(form) for form in (">H", ">i", ">I", ">Q"))
_BEGIN, _COMMIT = struct.Struct(">QqI"), struct.Struct(">BQQq")
_COLUMN = struct.Struct(">Ii")


def parse(data: bytes) -> Parsed:
    """One message. Raises `UnreadableStream` for anything else than exactly one whole message."""
    if not data:
        raise UnreadableStream("an empty message")
    reader = _READERS.get(data[0])
    if reader is None:
        told = _LATER_PROTOCOLS.get(data[0], f"a message of unknown kind {bytes(data[:1])!r}")
        raise UnreadableStream(told)
    try:
        message, end = reader(data)
    except (struct.error, IndexError):
        raise UnreadableStream(f"a message {chr(data[0])} ends too early, after {len(data)} bytes") from None
    except UnicodeDecodeError:
        raise UnreadableStream(f"a message {chr(data[0])} holds text that is not UTF-8") from None
    except (ValueError, OverflowError) as error:
        raise UnreadableStream(f"a message {chr(data[0])}: {error}") from None
    if end != len(data):
        raise UnreadableStream(f"a message {chr(data[0])} has {len(data) - end} bytes too many")
    return message


def _time(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


def _slice(data: bytes, at: int, length: int) -> bytes:
    """A slice that is really as long as was said: Python itself would shorten it silently."""
    if length < 0 or at + length > len(data):
        raise _hostile(length, len(data) - at)
    return data[at : at + length]


def _hostile(length: int, left: int) -> ValueError:
    return ValueError(f"a length of {length} where {left} bytes are left")


def _cells(data: bytes, at: int) -> tuple[tuple[Cell, ...], int]:
    (count,) = _U16.unpack_from(data, at)
    at += 2
    size, length_at = len(data), _I32.unpack_from  # the hottest loop there is
    cells: list[Cell] = []
    for _ in range(count):
        kind = data[at]
        if kind == _TEXT:
            start = at + 5
            length = length_at(data, at + 1)[0]
            at = start + length
            if length < 0 or at > size:
                raise _hostile(length, size - start)
            cells.append(data[start:at].decode())
            continue
        at += 1
        if kind == _NULL:
            cells.append(None)
        elif kind == _UNCHANGED:
            cells.append(UNCHANGED)
        else:
            raise ValueError(f"a cell of kind {chr(kind)!r}, where text, NULL or unchanged is understood")
    return tuple(cells), at


def _begin(data: bytes) -> tuple[Begin, int]:
    final, at, xid = _BEGIN.unpack_from(data, 1)
    return Begin(final, _time(at), xid), 1 + _BEGIN.size


def _commit(data: bytes) -> tuple[Commit, int]:
    flags, commit, end, at = _COMMIT.unpack_from(data, 1)
    if flags:
        raise ValueError(f"unknown flags {flags}")
    return Commit(commit, end, _time(at)), 1 + _COMMIT.size


def _origin(data: bytes) -> tuple[Origin, int]:
    (lsn,) = _U64.unpack_from(data, 1)
    name, at = _string(data, 9)
    return Origin(lsn, name), at


def _type(data: bytes) -> tuple[Type, int]:
    (oid,) = _U32.unpack_from(data, 1)
    schema, at = _string(data, 5)
    name, at = _string(data, at)
    return Type(oid, schema or "pg_catalog", name), at


def _relation(data: bytes) -> tuple[ChangedRelation, int]:
    (oid,) = _U32.unpack_from(data, 1)
    schema, at = _string(data, 5)
    name, at = _string(data, at)
    identity = ReplicaIdentity(chr(data[at]))
    (count,) = _U16.unpack_from(data, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        flags = data[at]
        column, at = _string(data, at + 1)
        type_oid, modifier = _COLUMN.unpack_from(data, at)
        at += _COLUMN.size
        columns.append(ChangedColumn(column, type_oid, modifier, bool(flags & 1)))
    return ChangedRelation(oid, schema or "pg_catalog", name, identity, tuple(columns)), at


def _expect(data: bytes, at: int, wanted: int) -> None:
    if data[at] != wanted:
        raise ValueError(f"a row of kind {chr(data[at])!r} where {chr(wanted)!r} belongs")


def _insert(data: bytes) -> tuple[Insert, int]:
    (oid,) = _U32.unpack_from(data, 1)
    _expect(data, 5, _NEW)
    new, at = _cells(data, 6)
    return Insert(oid, new), at


def _update(data: bytes) -> tuple[Update, int]:
    (oid,) = _U32.unpack_from(data, 1)
    image = _IMAGES.get(data[5], OldImage.NONE)
    old: tuple[Cell, ...] = ()
    at = 5
    if image is not OldImage.NONE:
        old, at = _cells(data, 6)
    _expect(data, at, _NEW)
    new, at = _cells(data, at + 1)
    return Update(oid, image, old, new), at


def _delete(data: bytes) -> tuple[Delete, int]:
    (oid,) = _U32.unpack_from(data, 1)
    image = _IMAGES.get(data[5])
    if image is None:
        raise ValueError(f"a row of kind {chr(data[5])!r} where an old one belongs")
    old, at = _cells(data, 6)
    return Delete(oid, image, old), at


def _truncate(data: bytes) -> tuple[Truncate, int]:
    (count,) = _U32.unpack_from(data, 1)
    oids = _slice(data, 6, 4 * count)
    flags = data[5]
    return Truncate(
        struct.unpack(f">{count}I", oids), cascade=bool(flags & 1), restart_identity=bool(flags & 2)
    ), 6 + 4 * count


def _message(data: bytes) -> tuple[Message, int]:
    (lsn,) = _U64.unpack_from(data, 2)
    prefix, at = _string(data, 10)
    (length,) = _I32.unpack_from(data, at)
    content = _slice(data, at + 4, length)
    return Message(bool(data[1] & 1), lsn, prefix, content), at + 4 + length


_READERS: Mapping[int, Callable[[bytes], tuple[Parsed, int]]] = {
    ord("B"): _begin,
    ord("C"): _commit,
    ord("O"): _origin,
    ord("R"): _relation,
    ord("Y"): _type,
    ord("I"): _insert,
    ord("U"): _update,
    ord("D"): _delete,
    ord("T"): _truncate,
    ord("M"): _message,
}
