"""Where the bad migration begins and commits in the WAL, found from its history rows; never from a clock."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from backout.errors import BackoutError
from backout.model.recovery import BadMigration, Line, Lsn, NotInWal, Transaction
from backout.ports.backups import WalSource
from backout.postgres import servers
from backout.postgres.binaries import Binaries
from backout.postgres.connect import Session
from backout.postgres.physical.wal import (
    SEGMENT_BYTES,
    begin_of,
    is_segment,
    number_of,
    segment_of,
)
from backout.postgres.physical.waldump import (
    CommitRecord,
    Record,
    commit_of,
    locked_exclusively,
    next_xid,
    older,
    read_records,
)

_WINDOW = 4
"""Segments that are read at a time, going back from the end of the WAL."""
REMAINS = (
    "the down, with everything that it destroys kept (needs no WAL)",
    "values from an older dump or snapshot, each marked as of its moment (inexact: no merge)",
    "reverting the application (needs no WAL)",
)


@dataclass(frozen=True, slots=True)
class Reach:
    """The unbroken WAL that can be read: `names` follow one another, the newest last."""

    wal: WalSource
    binaries: Binaries
    line: Line
    names: tuple[str, ...]
    segment_bytes: int
    gap: str
    """The segment before the oldest, when others lie behind it: it is missing. Else empty."""

    @property
    def begin(self) -> Lsn:
        """Where it begins."""
        return begin_of(self.names[0], self.segment_bytes)


@dataclass(frozen=True, slots=True)
class _Window:
    names: tuple[str, ...]
    start: Lsn
    end: Lsn
    tail: Lsn


class _NotFound(Exception):
    """Why the migration is not to be found; ends the search."""


def find_first_bad(
    wal: WalSource,
    binaries: Binaries,
    line: Line,
    xids: Iterable[int],
    *,
    until: Lsn | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    committed_at: str = "",
) -> BadMigration | NotInWal:
    """The transactions behind these transaction IDs: the xmin of the history rows of one run of the tool,
    and what else is known to belong to it.

    An xmin may be a subtransaction's; the commit record names its top-level transaction. `until` is the
    source's WAL position when its own pg_wal is among the sources: what lies behind it is recycled. A commit
    with `synchronous_commit = off` can be read only when its WAL was flushed, up to a second later.
    `committed_at` is passed on when nothing is found.
    """
    wanted = frozenset(xid % 2**32 for xid in xids)
    place = servers.private_directory("backout-wal-")  # where the account of a backup tool can write, too
    try:
        return _find(reach_of(wal, binaries, line, until, segment_bytes), place, wanted)
    except _NotFound as error:
        return NotInWal(str(error), REMAINS, committed_at)
    except (BackoutError, OSError) as error:
        return NotInWal(f"the WAL cannot be read: {error}", REMAINS, committed_at)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def reach_of(wal: WalSource, binaries: Binaries, line: Line, until: Lsn | None, segment_bytes: int) -> Reach:
    """The unbroken run of segments of this timeline that ends with the newest."""
    ours = f"{line.timeline:08X}"
    there = {name for name in wal.names() if is_segment(name) and name.startswith(ours)}
    if until is not None:
        last = segment_of(line.timeline, until, segment_bytes)
        there = {name for name in there if name <= last}
    if not there:
        raise _NotFound(f"no WAL segment of timeline {line.timeline} can be read")
    numbers = {number_of(name, segment_bytes): name for name in there}
    number = max(numbers)
    while number - 1 in numbers:
        number -= 1
    run = tuple(numbers[n] for n in range(number, max(numbers) + 1))
    before = segment_of(line.timeline, Lsn((number - 1) * segment_bytes), segment_bytes) if number else ""
    return Reach(wal, binaries, line, run, segment_bytes, before if len(run) < len(there) else "")


def _windows(reach: Reach) -> Iterator[_Window]:
    """The WAL in pieces, the newest first."""
    size, count = reach.segment_bytes, len(reach.names)
    for behind in range(count, 0, -_WINDOW):
        first = max(0, behind - _WINDOW)
        names = reach.names[first : behind + 2]  # and the next two: a record may end there
        end = Lsn((number_of(reach.names[behind - 1], size) + 1) * size)
        # Only the newest may end early, somewhere in its last segment.
        tail = Lsn(max(0, end.position - 2 * size)) if behind == count else end
        yield _Window(names, begin_of(names[0], size), end, tail)


def _read(reach: Reach, place: Path, window: _Window, only: str = "") -> Iterator[Record]:
    reach.wal.bring(window.names, place)
    return read_records(
        reach.binaries, place, reach.line.timeline, window.start, window.end, only=only, tail=window.tail
    )


def _find(reach: Reach, place: Path, wanted: frozenset[int]) -> BadMigration:
    commits = _find_commits(reach, place, wanted)
    around = _read_around(reach, place, commits)
    transactions = tuple(around.describe(commit) for commit in commits)
    return BadMigration(reach.line, transactions, around.foreign_inside(commits), around.suspects(commits))


def _find_commits(reach: Reach, place: Path, wanted: frozenset[int]) -> tuple[CommitRecord, ...]:
    """Commit records of the wanted IDs, in their order; the newest where an ID was used twice."""
    found: dict[int, CommitRecord] = {}
    for window in _windows(reach):
        seen: dict[int, CommitRecord] = {}
        for record in _read(reach, place, window, "Transaction"):
            if (commit := commit_of(record)) is not None:
                seen |= dict.fromkeys(commit.xids & wanted, commit)
        found = seen | found
        if found.keys() == wanted:
            return tuple(sorted(set(found.values()), key=lambda commit: commit.lsn))
    lost = ", ".join(map(str, sorted(wanted - found.keys())))
    raise _NotFound(f"transaction {lost} does not commit in the WAL that can be read, {_extent(reach)}")


def _extent(reach: Reach) -> str:
    gap = f", {reach.gap} is missing" if reach.gap else ""
    return f"from {reach.begin} on ({len(reach.names)} segments{gap})"


@dataclass(slots=True)
class _Around:
    """What was seen in the WAL from before the first transaction to the last commit."""

    firsts: dict[int, Lsn] = field(default_factory=dict)
    """Transaction or subtransaction -> its first record."""
    commits: list[CommitRecord] = field(default_factory=list)
    locked: set[int] = field(default_factory=set)
    complete: bool = False

    def add(self, record: Record) -> None:
        if record.xid and (record.xid not in self.firsts or record.lsn < self.firsts[record.xid]):
            self.firsts[record.xid] = record.lsn
        if (holder := locked_exclusively(record)) is not None:
            self.locked.add(holder)
        if (commit := commit_of(record)) is not None:
            self.commits.append(commit)

    def describe(self, commit: CommitRecord) -> Transaction:
        first = min(self.firsts.get(xid, commit.lsn) for xid in commit.xids)
        return Transaction(commit.xid, first, commit.lsn, commit.at, commit.subtransactions)

    def _foreign(self, known: tuple[CommitRecord, ...]) -> list[CommitRecord]:
        ours = {commit.lsn for commit in known}
        others = (one for one in self.commits if one.lsn not in ours and one.lsn < known[-1].lsn)
        return sorted(others, key=lambda commit: commit.lsn)

    def foreign_inside(self, known: tuple[CommitRecord, ...]) -> int:
        return sum(one.lsn > known[0].lsn for one in self._foreign(known))

    def suspects(self, known: tuple[CommitRecord, ...]) -> tuple[Transaction, ...]:
        return tuple(self.describe(one) for one in self._foreign(known) if one.xids & self.locked)


def _read_around(reach: Reach, place: Path, commits: tuple[CommitRecord, ...]) -> _Around:
    """Read back from the last commit until a record proves that none of the transactions had begun.

    A top-level ID is always given away before those of its subtransactions, so it is the one to look for.
    """
    oldest = commits[0].xid
    for commit in commits:
        oldest = commit.xid if older(commit.xid, oldest) else oldest
    around = _Around()
    for window in _windows(reach):
        if window.start > commits[-1].lsn:
            continue
        for record in _read(reach, place, window):
            if record.lsn > commits[-1].lsn:
                break
            around.add(record)
            following = next_xid(record)
            around.complete |= following is not None and not older(oldest, following)
        if around.complete:
            return around
    raise _NotFound(
        f"transaction {oldest} had already begun where the WAL that can be read begins, {_extent(reach)}"
    )


def read_commit_time(session: Session, xid: int) -> str:
    """When a transaction committed, where the server keeps commit timestamps; else empty. For a provider
    that restores to a time; `xid` may be a subtransaction's."""
    try:
        row = session.execute(
            """SELECT pg_catalog.to_char(pg_catalog.pg_xact_commit_timestamp((%s::text)::xid)
                                         AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
            (str(xid % 2**32),),
        ).fetchone()
    except (psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.InvalidParameterValue):
        return ""  # track_commit_timestamp is off, or the transaction is no ordinary one
    return "" if row is None or row[0] is None else str(row[0])
