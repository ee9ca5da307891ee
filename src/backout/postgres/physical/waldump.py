"""Read WAL records as pg_waldump prints them; the parsing is pure."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from backout.errors import Refused
from backout.model.recovery import Lsn
from backout.postgres.binaries import Binaries
from backout.postgres.client import reading
from backout.postgres.physical.wal import begin_of, is_segment

# rmgr: Heap        len (rec/tot):     54/   150, tx:        743, lsn: 0/0156A9B8, prev 0/0156A980, desc: …
_RECORD = re.compile(
    r"rmgr: (?P<rmgr>\S+)\s+len \(rec/tot\):\s*\d+/\s*\d+, tx:\s*(?P<xid>\d+), "
    r"lsn: (?P<lsn>[0-9A-F]+/[0-9A-F]+), prev \S+, desc: (?P<desc>.*)"
)
_COMMIT = re.compile(r"COMMIT(?P<prepared>_PREPARED)?(?: (?P<xid>\d+):)? (?P<at>\d{4}-\d\d-\d\d \S+ \S+)")
_SUBTRANSACTIONS = re.compile(r"; subxacts:((?: \d+)+)")
_NEXT_XID = re.compile(r"RUNNING_XACTS nextXid (\d+)")
_OLDEST_XID = re.compile(r"RUNNING_XACTS nextXid \d+ latestCompletedXid \d+ oldestRunningXid (\d+)")
_LOCK = re.compile(r"xid (\d+) db")


@dataclass(frozen=True, slots=True)
class Record:
    """One WAL record; `xid` is 0 for a record of no transaction."""

    rmgr: str
    xid: int
    lsn: Lsn
    description: str


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """The commit of a top-level transaction, `lsn` where the record begins."""

    xid: int
    lsn: Lsn
    at: str
    """RFC 3339 in UTC."""
    subtransactions: tuple[int, ...]

    @property
    def xids(self) -> frozenset[int]:
        """The transaction and all its committed subtransactions."""
        return frozenset((self.xid, *self.subtransactions))


def parse(lines: Iterable[str]) -> Iterator[Record]:
    """The records among the lines; whatever else pg_waldump says is passed over."""
    for line in lines:
        if (found := _RECORD.match(line)) is not None:
            yield Record(found["rmgr"], int(found["xid"]), Lsn.parse(found["lsn"]), found["desc"])


def commit_of(record: Record) -> CommitRecord | None:
    """What a commit record says; None for every other record. A prepared transaction's commit names the
    transaction in its text and has none in its head."""
    if record.rmgr != "Transaction":
        return None
    found = _COMMIT.match(record.description)
    if found is None:
        return None
    below = _SUBTRANSACTIONS.search(record.description)
    day, clock, _ = found["at"].split(" ")
    return CommitRecord(
        int(found["xid"] or record.xid),
        record.lsn,
        f"{day}T{clock}Z",
        tuple(map(int, below[1].split())) if below else (),
    )


def next_xid(record: Record) -> int | None:
    """The first transaction ID that had not been given away where this record stands, if it says so.

    Only a running-transactions record does (every 15 seconds, and at each checkpoint): it is written while no
    ID can be given away. A checkpoint names an ID too, of the moment when the checkpoint began.
    """
    if record.rmgr != "Standby":
        return None
    found = _NEXT_XID.match(record.description)
    return None if found is None else int(found[1])


def oldest_running(record: Record) -> int | None:
    """The oldest transaction that ran where this record stands, if it says so: every older one had ended."""
    if record.rmgr != "Standby":
        return None
    found = _OLDEST_XID.match(record.description)
    return None if found is None else int(found[1])


def locked_exclusively(record: Record) -> int | None:
    """The transaction that this record shows to hold an ACCESS EXCLUSIVE lock."""
    if record.rmgr != "Standby" or not record.description.startswith("LOCK"):
        return None
    found = _LOCK.search(record.description)
    return None if found is None else int(found[1])


def older(one: int, other: int) -> bool:
    """Whether transaction ID `one` was given away before `other`, across the wrap-around."""
    return one != other and (other - one) % 2**32 < 2**31


def _stop_where_it_ends(directory: Path, timeline: int) -> tuple[str, ...]:
    """The end of the newest segment that is here: without it pg_waldump waits 5 s for the next one."""
    ours = f"{timeline:08X}"
    here = sorted(p for p in directory.iterdir() if is_segment(p.name) and p.name.startswith(ours))
    size = here[-1].stat().st_size if here else 0
    return (f"--end={Lsn(begin_of(here[-1].name, size).position + size)}",) if size else ()


def read_records(
    binaries: Binaries, directory: Path, timeline: int, start: Lsn, end: Lsn, *, only: str = "", tail: Lsn
) -> Iterator[Record]:
    """Records that begin in [start, end), from the segments in a directory; `only` of one resource manager.

    The WAL may end behind `tail`. Raises `Refused` when it cannot be read up to there.
    """
    arguments = [binaries.program("pg_waldump"), f"--path={directory}", f"--timeline={timeline}"]
    arguments += [f"--start={start}", *_stop_where_it_ends(directory, timeline)]
    wanted = (lambda record: record.rmgr == only) if only else (lambda record: True)
    last = start
    with reading(arguments, {"LC_ALL": "C", "TZ": "UTC"}) as shown:
        # The stream has no buffer of its own, and lines would be read byte by byte.
        lines = io.BufferedReader(cast(io.RawIOBase, shown.stream))
        # Not with our --end: a record that begins before the end and reaches over it would be left out.
        for record in parse(line.decode("utf-8", "replace") for line in lines):
            if record.lsn >= end:
                return
            last = record.lsn
            if wanted(record):
                yield record
        ended = shown.ended()
    if last < tail:
        raise Refused(
            f"the WAL cannot be read behind {last}: pg_waldump {ended.died}: {ended.message}",
            where=str(directory),
            intact="everything; WAL was only read",
            next="bring the damaged or missing segment into the archive, then the same again",
        )
