"""Which backup a target is restored from: the newest that is whole before it; pure."""

from __future__ import annotations

from collections.abc import Iterable

from backout.errors import Refused
from backout.model.recovery import BackupEnd, ForReplay, Lsn, NamedPoint, RecoveryTarget, position
from backout.ports.backups import Backup
from backout.postgres.physical.wal import segments

_INTACT = "the source and every backup; nothing was restored"


def choose(backups: Iterable[Backup], target: RecoveryTarget) -> Backup:
    """The newest backup of the target's cluster and timeline that ends before the target.

    A newer one would start behind the target and never reach it: measured, a tool that takes the newest
    backup by itself ended in `recovery ended before configured recovery target was reached`. Raises `Refused`
    when none is old enough.
    """
    there = tuple(b for b in backups if not isinstance(target, BackupEnd) or b.id == target.backup)
    ours = [b for b in there if b.system_identifier == target.line.system_identifier]
    if not ours:
        raise _no_backup_of_this_cluster(there, target)
    same = [b for b in ours if b.timeline == target.line.timeline]
    if not same:
        seen = ", ".join(sorted({str(b.timeline) for b in ours}))
        raise Refused(
            f"the target lies on timeline {target.line.timeline}, the backups were taken on timeline {seen}",
            where="the backups of this target",
            intact=_INTACT,
            next="take a backup after each failover; this migration needs one taken on its own timeline",
        )
    older = [b for b in same if lies_before(b.stop, target)]
    if not older:
        oldest = min(same, key=lambda b: b.stop)
        raise Refused(
            f"every backup is newer than the target: the oldest, {oldest.id}, is whole from "
            f"{oldest.stop} on, the target lies at {position(target)}",
            where="the backups of this target",
            intact=_INTACT,
            next="name an older backup; without one, the values that a dump still has can be put back: "
            "backout snapshot list",
        )
    return max(older, key=lambda b: b.stop)


def lies_before(whole_from: Lsn, target: RecoveryTarget) -> bool:
    """Whether a copy that is whole from here on can still be brought to the target.

    A record that begins where the copy ends can be stopped at; a restore point that ends there is over.
    """
    if isinstance(target, ForReplay) and isinstance(target.at, NamedPoint):
        return whole_from < position(target)
    return whole_from <= position(target)


def why_not(backup: Backup, target: RecoveryTarget) -> str:
    """Why this backup cannot be brought to the target; empty when it can."""
    line = target.line
    if backup.system_identifier != line.system_identifier:
        return f"of another cluster ({backup.system_identifier})"
    if backup.timeline != line.timeline:
        return f"of timeline {backup.timeline}; the point lies on {line.timeline}"
    if isinstance(target, BackupEnd) and backup.id != target.backup:
        return f"{target.backup} was asked for"
    if not lies_before(backup.stop, target):
        return f"newer than the point: whole from {backup.stop} on"
    return ""


def needed(backup: Backup, target: RecoveryTarget) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Segments of the backup itself, which may come with it, and those that only the archive has."""
    size = backup.wal_segment_bytes
    whole = segments(backup.timeline, backup.start, last_byte(target), size)
    if isinstance(target, BackupEnd):
        return whole, ()
    late = segments(backup.timeline, backup.stop, last_byte(target), size)
    return whole[: len(whole) - len(late)], late


def last_byte(target: RecoveryTarget) -> Lsn:
    """The position of the last byte that has to be there; a restore point's own LSN is where it ends, and so
    is that of a backup."""
    named = isinstance(target, ForReplay) and isinstance(target.at, NamedPoint)
    return Lsn(position(target).position - (named or isinstance(target, BackupEnd)))


def _no_backup_of_this_cluster(there: tuple[Backup, ...], target: RecoveryTarget) -> Refused:
    if not there:
        return Refused(
            "there is no base backup",
            where="the backups of this target",
            intact=_INTACT,
            next="take one before the next migration",
        )
    seen = ", ".join(sorted({b.system_identifier for b in there}))
    return Refused(
        f"the backups are of another cluster: they have system identifier {seen}, the target has "
        f"{target.line.system_identifier}",
        where="the backups of this target",
        intact=_INTACT,
        next="correct the backups of this target in backout.toml",
    )
