"""How base backups hang together: may the next one be incremental, which are usable, which may go; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backout.model.recovery import Lsn
from backout.ports.backups import Backup

FIRST_MAJOR = 17
"""The first version that takes incremental backups."""


@dataclass(frozen=True, slots=True)
class Source:
    """What the server says of itself before it is copied."""

    superuser: str
    """Name of its bootstrap superuser."""
    major: int
    size_bytes: int
    """Of all its databases."""
    system_identifier: str
    timeline: int
    summarizes: bool
    """`summarize_wal` is on: it knows which blocks changed."""


def newest_for(source: Source, backups: Iterable[Backup]) -> Backup | None:
    """The newest backup of this server's cluster and timeline, else the newest of all; None = there is none.

    Positions of two clusters or timelines say nothing of which was taken later: a server that was upgraded or
    restored to an earlier point begins again at lower ones.
    """

    def rank(backup: Backup) -> tuple[bool, Lsn]:
        line = (backup.system_identifier, backup.timeline)
        return line == (source.system_identifier, source.timeline), backup.stop

    return max(backups, key=rank, default=None)


def why_full(source: Source, newest: Backup | None, limit: int) -> str:
    """Why the next base backup copies everything; empty = it may be incremental on the newest.

    `limit` is how many incremental ones may follow a full one: each makes a restore longer, and all are lost
    with one that is damaged.
    """
    if limit == 0:
        return "incrementals = 0"
    if source.major < FIRST_MAJOR:
        return f"PostgreSQL {source.major} takes no incremental ones ({FIRST_MAJOR} and newer do)"
    if not source.summarizes:
        return "summarize_wal is off, so the server does not know what changed"
    return "it is the first one" if newest is None else _why_not_on(newest, source, limit)


def _why_not_on(newest: Backup, source: Source, limit: int) -> str:
    if newest.system_identifier != source.system_identifier:
        return f"{newest.id} is of another cluster"
    if newest.timeline != source.timeline:
        return f"{newest.id} is of timeline {newest.timeline}, the server is on {source.timeline}"
    if len(newest.needs) >= limit:
        return f"{len(newest.needs)} incremental ones followed {newest.needs[0]}, and incrementals = {limit}"
    return ""


def usable(backups: Iterable[Backup]) -> tuple[Backup, ...]:
    """Those for which everything that they need is there, in the given order."""
    there = tuple(backups)
    return tuple(backup for backup in there if not missing(backup, there))


def missing(backup: Backup, there: Iterable[Backup]) -> tuple[str, ...]:
    """Ids of the backups that it needs and that are not there: it cannot be restored."""
    known = {one.id for one in there}
    return tuple(needed for needed in backup.needs if needed not in known)


def removable(backups: Sequence[Backup], keep: int) -> tuple[Backup, ...]:
    """Those that a retention of the newest `keep` lets go, newest first: so a removal that is interrupted
    leaves no incremental one without what it needs. `backups` are oldest first; 0 = all are kept."""
    kept = backups[-keep:] if keep else backups
    needed = {identifier for backup in kept for identifier in (backup.id, *backup.needs)}
    return tuple(backup for backup in reversed(backups) if backup.id not in needed)
