"""How far the WAL reaches when a segment of it is missing, and how many transactions lie behind that."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from backout.errors import Refused
from backout.model.loss import Figure
from backout.model.recovery import (
    BackupEnd,
    Commit,
    Line,
    Lsn,
    RecoveryTarget,
    TwinAfter,
    position,
)
from backout.ports.backups import Backup, WalSource
from backout.postgres import servers
from backout.postgres.binaries import Binaries
from backout.postgres.physical.choose import needed
from backout.postgres.physical.wal import begin_of, is_segment, number_of, segment_of
from backout.postgres.physical.waldump import (
    CommitRecord,
    Record,
    commit_of,
    older,
    oldest_running,
    read_records,
)

_WINDOW = 4
"""Segments that are brought and read at a time."""


@dataclass(frozen=True, slots=True)
class Archived:
    """The archived WAL of one line, with the programs that read it."""

    wal: WalSource
    binaries: Binaries
    line: Line
    segment_bytes: int

    def names(self) -> tuple[str, ...]:
        """Its segments, oldest first."""
        ours = f"{self.line.timeline:08X}"
        return tuple(sorted(n for n in self.wal.names() if is_segment(n) and n.startswith(ours)))

    def unbroken_from(self, name: str) -> tuple[str, ...]:
        """The segments that follow one another from this one on; empty when it is not there itself."""
        numbers = {number_of(one, self.segment_bytes): one for one in self.names()}
        number, run = number_of(name, self.segment_bytes), list[str]()
        while number in numbers:
            run.append(numbers[number])
            number += 1
        return tuple(run)

    def records(self, names: tuple[str, ...], until: Lsn | None = None) -> Iterator[Record]:
        """The records of consecutive segments, as far as they can be read, up to `until`."""
        place = servers.private_directory("backout-wal-")
        try:
            yield from self._read(place, names, until)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _read(self, place: Path, names: tuple[str, ...], until: Lsn | None) -> Iterator[Record]:
        size = self.segment_bytes
        for first in range(0, len(names), _WINDOW):
            window = names[first : first + _WINDOW]
            self.wal.bring(names[first : first + _WINDOW + 1], place)  # and the next: a record may end there
            start = begin_of(window[0], size)
            end = Lsn(begin_of(window[-1], size).position + size)
            stop = min(end, until) if until is not None else end
            yield from read_records(self.binaries, place, self.line.timeline, start, stop, tail=start)


@dataclass(frozen=True, slots=True)
class Reachable:
    """The last point that can be reached from a backup, and what lies behind it."""

    target: TwinAfter | BackupEnd
    committed_at: str
    lost: Figure
    note: str


@dataclass(slots=True)
class _Seen:
    """What was read of the WAL, going back from its end."""

    since: Lsn
    """Only a commit behind this place can be the last one."""
    last: CommitRecord | None = None
    floor: int | None = None
    """Every transaction older than this had ended where it was noted."""
    committed: list[int] = field(default_factory=list)

    def add_earlier(self, records: Iterator[Record]) -> None:
        """The records of a window before those that were read already."""
        last: CommitRecord | None = None
        floor: int | None = None
        for record in records:
            running, commit = oldest_running(record), commit_of(record)
            floor = floor if running is None else running
            if commit is not None:
                self.committed += commit.xids
                last = commit if commit.lsn >= self.since else last
        self.last = self.last or last
        self.floor = floor if self.floor is None else self.floor


def _look_back(archived: Archived, names: tuple[str, ...], since: Lsn, *, for_floor: bool) -> _Seen:
    """Read back from the end of these segments until the last commit (and a floor) is found."""
    seen = _Seen(since)
    for behind in range(len(names), 0, -_WINDOW):
        seen.add_earlier(archived.records(names[max(0, behind - _WINDOW) : behind]))
        if seen.last is not None and (seen.floor is not None or not for_floor):
            break
    return seen


def last_reachable(
    archived: Archived, backup: Backup, wanted: RecoveryTarget, next_xid: int | None
) -> Reachable:
    """The last commit that can be replayed from this backup, for a point behind missing WAL.

    `next_xid` is the first transaction ID that the source had not given away; None = it was not asked. The
    transactions behind are counted from above: every ID that was given away since and is not seen to commit
    before, whether it belongs to a subtransaction or was rolled back.
    """
    late = needed(backup, wanted)[1]
    before = archived.unbroken_from(late[0]) if late else ()
    of_backup = archived.unbroken_from(segment_of(backup.timeline, backup.start, archived.segment_bytes))
    names = of_backup if before and of_backup[-1:] == before[-1:] else before
    seen = _look_back(archived, names or of_backup, backup.stop, for_floor=True)
    lost, note = _lost(seen, next_xid)
    if seen.last is None:
        return Reachable(BackupEnd(archived.line, backup.id, backup.stop), "", lost, note)
    at = TwinAfter(archived.line, Commit(seen.last.xid, seen.last.lsn))
    return Reachable(at, seen.last.at, lost, note)


def _lost(seen: _Seen, next_xid: int | None) -> tuple[Figure, str]:
    """IDs are given away in another order than transactions commit, so only the source's newest one bounds
    what committed behind the gap."""
    floor = seen.floor
    if floor is None:
        return Figure.unknown(), "no record before the gap says which transactions were running"
    if next_xid is None:
        return Figure.unknown(), "the source was not asked how many transactions it has begun"
    there = sum(not older(xid, floor) for xid in seen.committed)
    behind = max(0, (next_xid % 2**32 - floor) % 2**32 - there)
    return Figure.at_most(behind), "counted up to now, by transaction IDs"


def newest_commit(archived: Archived, backup: Backup) -> Reachable | None:
    """The newest commit of the unbroken WAL behind a backup; None when there is none."""
    names = archived.unbroken_from(_first_behind(archived, backup))
    found = _look_back(archived, names, backup.stop, for_floor=False).last
    if found is None:
        return None
    at = TwinAfter(archived.line, Commit(found.xid, found.lsn))
    return Reachable(at, found.at, Figure.unknown(), "")


def _first_behind(archived: Archived, backup: Backup) -> str:
    """The segment in which a backup ends."""
    return segment_of(backup.timeline, backup.stop, archived.segment_bytes)


def first_commit_after(archived: Archived, backup: Backup, moment: datetime) -> tuple[Commit, str]:
    """The first commit behind the backup whose own time stamp is later than `moment`, and that time stamp.

    Raises `Refused` when the WAL that can be read has none.
    """
    size = backup.wal_segment_bytes
    first = next(
        (n for n in archived.names() if begin_of(n, size).position + size > backup.stop.position), ""
    )
    newest = ""
    for record in archived.records(archived.unbroken_from(first) if first else ()):
        commit = commit_of(record)
        if commit is None or record.lsn < backup.stop:
            continue
        if datetime.fromisoformat(commit.at) > moment:
            return Commit(commit.xid, commit.lsn), commit.at
        newest = commit.at
    raise Refused(
        f"no transaction committed after {moment.isoformat()} in the archived WAL; the newest that can be "
        f"read did at {newest or 'no known time'}",
        where="the archived WAL",
        intact="everything; WAL was only read",
        next="an earlier time, or the newest state: backout restore",
    )


def reaches(target: RecoveryTarget, backup: Backup, there: frozenset[str]) -> str:
    """The first segment that is needed from the archive and not there; empty when all are."""
    assert position(target) >= backup.stop or isinstance(target, BackupEnd)
    return next((name for name in needed(backup, target)[1] if name not in there), "")
