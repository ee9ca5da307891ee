"""Find the rows that differ between a table and its clone without reading their contents.

A clone made by CREATE DATABASE … TEMPLATE has the same files. As long as a table lies in the same file on
both sides, a row version at the same place and made by the same transaction is the same row version. That
is not so after a rewrite, and not between databases that were restored apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from psycopg import sql

from backout.postgres.connect import Session
from backout.postgres.source import Place, Side, Source

FIRST_VERSION = 140000
"""Older servers cannot scan a range of places: every window would read the whole table."""
MOST = 200_000
"""Row versions that may differ before reading all contents is cheaper; bounds the memory, too."""
_WINDOW = 512
_RECORD = 10  # block 4, offset 2, xmin 4


def changed_places(
    before: Side, after: Side, report: Callable[[int], None]
) -> tuple[list[Place], list[Place], int] | None:
    """Row versions only before, only after, and the number of rows before; None when there are too many."""
    old: list[Place] = []
    new: list[Place] = []
    rows = 0
    for was, now in zip(before.sources, after.sources, strict=True):
        oid = was.oid.to_bytes(4)
        for ours, theirs in _windows(before.session, was, after.session, now):
            rows += len(ours) // _RECORD
            if ours == theirs:
                continue
            one, other = _records(ours), _records(theirs)
            old += [oid + record[:6] for record in one - other]
            new += [oid + record[:6] for record in other - one]
            if len(old) + len(new) > MOST:
                return None
        report(rows)
    return old, new, rows


def _windows(before: Session, was: Source, after: Session, now: Source) -> Iterator[tuple[bytes, bytes]]:
    blocks = max(_blocks(before, was.oid), _blocks(after, now.oid))
    for first in range(0, blocks, _WINDOW):
        yield _read(before, was, first), _read(after, now, first)


def _blocks(session: Session, oid: int) -> int:
    row = session.execute(
        """SELECT pg_catalog.pg_relation_size(%s::oid)
                  / pg_catalog.current_setting('block_size')::bigint""",
        (oid,),
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


def _read(session: Session, source: Source, first: int) -> bytes:
    query = sql.SQL(
        "SELECT coalesce(pg_catalog.string_agg(pg_catalog.tidsend(ctid) || pg_catalog.xidsend(xmin),"
        " ''::bytea), ''::bytea) FROM {} WHERE ctid >= {}::pg_catalog.tid AND ctid < {}::pg_catalog.tid"
    ).format(source.relation, sql.Literal(f"({first},0)"), sql.Literal(f"({first + _WINDOW},0)"))
    with session.cursor(binary=True) as cursor:
        row = cursor.execute(query).fetchone()
    assert row is not None
    assert isinstance(row[0], bytes)
    return row[0]


def _records(window: bytes) -> set[bytes]:
    return {window[i : i + _RECORD] for i in range(0, len(window), _RECORD)}


def paired(
    old: Mapping[Place, bytes], new: Mapping[Place, bytes]
) -> Iterator[tuple[Place | None, Place | None]]:
    """Row versions of the same identity belong together; what is left over is gone, or new."""
    waiting: dict[bytes, list[Place]] = {}
    for place, identity in new.items():
        waiting.setdefault(identity, []).append(place)
    for place, identity in old.items():
        others = waiting.get(identity)
        yield place, others.pop() if others else None
    for others in waiting.values():
        for place in others:
            yield None, place
