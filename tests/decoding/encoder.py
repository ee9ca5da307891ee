"""The server's side of pgoutput, protocol version 1, written from its documentation: records to bytes."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

from backout.model.changes import UNCHANGED, Cell, ChangedRelation, OldImage
from backout.postgres.decoding.messages import (
    Begin,
    Commit,
    Delete,
    Insert,
    Message,
    Origin,
    Parsed,
    Truncate,
    Type,
    Update,
)

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def encode(message: Parsed) -> bytes:  # noqa: C901 - one case a message
    match message:
        case Begin(lsn, at, xid):
            return b"B" + struct.pack(">QqI", lsn, _time(at), xid)
        case Commit(lsn, end, at):
            return b"C" + struct.pack(">BQQq", 0, lsn, end, _time(at))
        case Origin(lsn, name):
            return b"O" + struct.pack(">Q", lsn) + _string(name)
        case ChangedRelation():
            return _relation(message)
        case Type(oid, schema, name):
            return b"Y" + struct.pack(">I", oid) + _string(schema) + _string(name)
        case Insert(oid, new):
            return b"I" + struct.pack(">I", oid) + b"N" + _cells(new)
        case Update(oid, image, old, new):
            return b"U" + struct.pack(">I", oid) + _old(image, old) + b"N" + _cells(new)
        case Delete(oid, image, old):
            return b"D" + struct.pack(">I", oid) + _old(image, old)
        case Truncate(oids, cascade, restart):
            flags = cascade + 2 * restart
            return b"T" + struct.pack(f">IB{len(oids)}I", len(oids), flags, *oids)
        case Message(transactional, lsn, prefix, content):
            head = struct.pack(">BQ", transactional, lsn) + _string(prefix)
            return b"M" + head + struct.pack(">I", len(content)) + content


def _time(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _string(text: str) -> bytes:
    return text.encode() + b"\0"


def _relation(relation: ChangedRelation) -> bytes:
    head = b"R" + struct.pack(">I", relation.oid) + _string(relation.schema) + _string(relation.name)
    parts = [head, relation.identity.value.encode(), struct.pack(">H", len(relation.columns))]
    for column in relation.columns:
        parts.append(struct.pack(">B", column.in_key) + _string(column.name))
        parts.append(struct.pack(">Ii", column.type_oid, column.type_modifier))
    return b"".join(parts)


def _old(image: OldImage, old: tuple[Cell, ...]) -> bytes:
    match image:
        case OldImage.NONE:
            return b""
        case OldImage.KEY:
            return b"K" + _cells(old)
        case OldImage.FULL:
            return b"O" + _cells(old)


def _cells(cells: tuple[Cell, ...]) -> bytes:
    parts = [struct.pack(">H", len(cells))]
    for cell in cells:
        if cell is None:
            parts.append(b"n")
        elif cell is UNCHANGED:
            parts.append(b"u")
        else:
            assert isinstance(cell, str)
            parts.append(b"t" + struct.pack(">I", len(cell.encode())) + cell.encode())
    return b"".join(parts)
