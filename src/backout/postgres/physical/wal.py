"""WAL segments: their names, whether one is missing, and bringing them to a restore."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from backout.errors import Refused
from backout.model.recovery import Lsn
from backout.postgres import servers

SEGMENT_BYTES = 16 << 20
_SEGMENT = re.compile(r"[0-9A-F]{24}\Z")


@dataclass(frozen=True, slots=True)
class WalDirectories:
    """Directories with plain segments: a WAL archive, and perhaps pg_wal for what is not archived yet."""

    directories: tuple[Path, ...]

    def names(self) -> frozenset[str]:
        """The segments of every directory; one that cannot be read has none."""
        return frozenset(path.name for directory in self.directories for path in _segments(directory))

    def bring(self, names: Iterable[str], directory: Path) -> None:
        """Link what the servers' account can read where it lies, copy the rest."""
        for name in names:
            source = self._find(name)
            goal = directory / name
            if goal.exists():
                continue
            if _readable(source):
                goal.symlink_to(source)
            else:
                shutil.copyfile(source, goal)
                servers.give(goal)

    def _find(self, name: str) -> Path:
        for directory in self.directories:
            if (directory / name).is_file():
                return (directory / name).resolve()
        raise missing(name, "", str(self.directories[0]))


def _segments(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if _SEGMENT.match(path.name)]
    except OSError:
        return []


def _readable(path: Path) -> bool:
    """Whether the account that runs servers can read this file."""
    return servers.run_program(["test", "-r", str(path)]).returncode == 0


def is_segment(name: str) -> bool:
    """Whether this is the name of a whole segment (not of a history file, a backup label or a partial)."""
    return _SEGMENT.match(name) is not None


def segment_of(timeline: int, lsn: Lsn, size: int = SEGMENT_BYTES) -> str:
    """Name of the segment that holds this position."""
    return _name(timeline, lsn.position // size, size)


def _name(timeline: int, number: int, size: int) -> str:
    per_file = (1 << 32) // size
    return f"{timeline:08X}{number // per_file:08X}{number % per_file:08X}"


def number_of(name: str, size: int = SEGMENT_BYTES) -> int:
    """Which segment of its timeline this is, counted from the beginning of the WAL."""
    return int(name[8:16], 16) * ((1 << 32) // size) + int(name[16:24], 16)


def begin_of(name: str, size: int = SEGMENT_BYTES) -> Lsn:
    """The first position in a segment."""
    return Lsn(number_of(name, size) * size)


def segments(timeline: int, first: Lsn, last: Lsn, size: int = SEGMENT_BYTES) -> tuple[str, ...]:
    """Names of the segments from the one that holds `first` to the one that holds `last`."""
    numbers = range(first.position // size, last.position // size + 1)
    return tuple(_name(timeline, number, size) for number in numbers)


def require_all(needed: Iterable[str], there: frozenset[str], where: str) -> None:
    """Raise `Refused` naming the first of the needed segments that is not there."""
    previous = ""
    for name in needed:
        if name not in there:
            raise missing(name, previous, where)
        previous = name


def missing(name: str, previous: str, where: str) -> Refused:
    """The refusal for a segment that is not there; `previous` is the last one that is."""
    reach = f": recoverable only to the end of {previous}" if previous else ""
    return Refused(
        f"WAL segment {name} is missing{reach}",
        where=where,
        intact="the source and every backup; nothing was started",
        next="bring the segment into the archive (source: SELECT pg_switch_wal()), then try again",
    )
