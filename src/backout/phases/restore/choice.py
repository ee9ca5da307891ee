"""Choose what to restore: the newest backup that ends before the point, and why the others do not do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backout.errors import NeighbourUnreachable, Refused, Stopped, UnknownName
from backout.model.recovery import DumpMoment, RecoveryTarget
from backout.model.restored import Choice, Offer, PointKind, Shortfall, Wanted
from backout.model.snapshot import Scope, Snapshot, SnapshotKind
from backout.phases.restore import judge
from backout.phases.restore.point import (
    Point,
    Source,
    find,
    lost_source,
    read_source,
    require_able,
    require_extensions,
)
from backout.ports.backups import Backup, Backups
from backout.ports.world import World
from backout.postgres import manifest
from backout.postgres.binaries import for_major
from backout.postgres.extensions import on_disk
from backout.postgres.physical.choose import choose, needed, why_not
from backout.postgres.physical.reachable import Archived, last_reachable, reaches

_INTACT = "everything; nothing was restored"


@dataclass(frozen=True, slots=True)
class Known:
    """What the state directory knows beside the world: snapshots, newest first, and measured rates."""

    snapshots: tuple[Snapshot, ...]
    rates: tuple[tuple[str, float], ...]
    """(kind, bytes a second) of the newest restore of each kind."""
    database: str = ""
    """As the connection string names it: a lost server cannot be asked."""

    def rate(self, kind: str) -> float | None:
        """Bytes a second of the newest restore of this kind; None = none was made here."""
        return next((rate for name, rate in self.rates if name == kind and rate > 0), None)


def choose_one(world: World, wanted: Wanted, known: Known, name: str, tell: Callable[[str], None]) -> Choice:
    """What would be restored. Production is only read, but that its newest WAL is archived.

    Raises `Refused` for a point that no backup reaches, a gap in the WAL (with the last reachable point),
    another cluster or timeline, an extension or role that is not there; `Stopped` when the disk is full.
    """
    with_snapshot = wanted.kind is PointKind.SNAPSHOT
    if with_snapshot or (wanted.kind is PointKind.NEWEST and world.backups is None):
        choice = _of_snapshot(world, wanted, known, name)
    else:
        choice = _of_backup(world, _tool(world), wanted, known, name, tell)
    _require_room(choice)
    return choice


def _tool(world: World) -> Backups:
    if world.backups is None:
        raise Refused(
            f"no backup tool is configured for {world.target}: only its snapshots can be restored",
            where=world.target,
            intact=_INTACT,
            next="backout snapshot list",
        )
    return world.backups


def _of_backup(
    world: World, backups: Backups, wanted: Wanted, known: Known, name: str, tell: Callable[[str], None]
) -> Choice:
    there = backups.list()
    tell("looking for the point in the source and its WAL")
    source, point = _asked(world, backups, there, wanted, known, name)
    backup = choose(there, point.target)
    point, shortfall = _reached(backups, backup, point, source, wanted, world.target)
    wal = sum(map(len, needed(backup, point.target))) * backup.wal_segment_bytes
    size = backup.size_bytes + wal
    rate = known.rate(backup.kind)
    return Choice(
        wanted=wanted,
        target=point.target,
        backup=backup.id,
        kind=backup.kind,
        database=source.identity.database,
        major=backup.major,
        source=str(source),
        source_position=str(source.position or ""),
        offers=_offers(there, point.target, backup),
        directory=str(world.instances),
        restore_bytes=size,
        need_bytes=size,
        free_bytes=_free(world.instances),
        eta_seconds=size / rate if rate else None,
        note=point.note,
        heads=source.heads,
        expected_head=point.head,
        shortfall=shortfall,
    )


def _asked(
    world: World, backups: Backups, there: tuple[Backup, ...], wanted: Wanted, known: Known, name: str
) -> tuple[Source, Point]:
    """The production as it answers, and the point; a lost one is known by its newest backup alone."""
    try:
        opened = world.databases.snapshot(name)
    except NeighbourUnreachable as silent:
        source = lost_source(known.database, there[-1] if there else None, silent.what)
        if not there:
            raise
        require_able(source, backups)
        return source, find(None, backups, there, source, wanted)
    with opened as session:
        source = read_source(session, world)
        require_able(source, backups)
        return source, find(session, backups, there, source, wanted)


def _source(world: World, known: Known, name: str) -> Source:
    """The same for a snapshot, which needs nothing of the production."""
    try:
        opened = world.databases.observe(name)
    except NeighbourUnreachable as silent:
        return lost_source(known.database, None, silent.what)
    with opened as session:
        return read_source(session, world)


def _offers(there: tuple[Backup, ...], target: RecoveryTarget, chosen: Backup) -> tuple[Offer, ...]:
    """Every backup, newest first, with why it is not the one."""

    def reason(backup: Backup) -> str:
        return why_not(backup, target) or f"older than {chosen.id}: more WAL to replay"

    return tuple(
        Offer(
            *(one.id, one.kind, one.taken_at, str(one.stop), one.size_bytes),
            "" if one == chosen else reason(one),
        )
        for one in reversed(there)
    )


def _reached(
    backups: Backups, backup: Backup, point: Point, source: Source, wanted: Wanted, target: str
) -> tuple[Point, Shortfall | None]:
    """The point itself when its WAL is there, else the last reachable one, where that was accepted."""
    missing = reaches(point.target, backup, backups.wal().names())
    if not missing:
        return point, None
    archived = Archived(backups.wal(), for_major(backup.major), source.line, backup.wal_segment_bytes)
    last = last_reachable(archived, backup, point.target, source.next_xid)
    shortfall = Shortfall(missing, str(last.target), last.committed_at, last.lost, last.note)
    if not wanted.inexact:
        raise judge.not_reachable(point.target, shortfall, wanted, target)
    return Point(last.target, f"{point.note}; {missing} is missing"), shortfall


def _of_snapshot(world: World, wanted: Wanted, known: Known, name: str) -> Choice:
    snapshot = _snapshot(world, wanted, known.snapshots)
    source = _source(world, known, name)
    head, extensions, major, bytes_there = _described(snapshot)
    require_extensions(extensions or source.extensions, frozenset(on_disk(for_major(major))), major)
    rate = known.rate("dump")
    return Choice(
        wanted=wanted,
        target=DumpMoment(snapshot.id, snapshot.taken_at, snapshot.lsn),
        backup=snapshot.id,
        kind="dump" if snapshot.kind is SnapshotKind.DUMP else "adopted dump",
        database=snapshot.database if snapshot.kind is SnapshotKind.DUMP else source.identity.database,
        major=major,
        source=str(source),
        source_position=str(source.position or ""),
        offers=judge.snapshot_offers(known.snapshots, snapshot),
        directory=str(world.instances),
        restore_bytes=bytes_there,
        need_bytes=2 * bytes_there,  # the data with its indexes, and the WAL of loading it
        free_bytes=_free(world.instances),
        eta_seconds=bytes_there / rate if rate else None,
        note=judge.scope_note(snapshot),
        heads=source.heads,
        expected_head=head,
    )


def _snapshot(world: World, wanted: Wanted, snapshots: tuple[Snapshot, ...]) -> Snapshot:
    """The named snapshot, else the newest whole one whose files are there."""
    if wanted.kind is PointKind.NEWEST:
        usable = (s for s in snapshots if s.scope is Scope.WHOLE and not judge.why_no_restore(s))
        found = next(usable, None)
    else:
        found = next((s for s in snapshots if s.id == wanted.value), None)
    if found is None:
        raise UnknownName(
            f"there is no snapshot {wanted.value}".rstrip() + f" of {world.target}",
            where=world.target,
            intact=_INTACT,
            next="backout snapshot list",
        )
    if reason := judge.why_no_restore(found):
        raise Refused(
            f"{found.id} cannot be restored by backout: {reason}",
            where=world.target,
            intact=_INTACT,
            next="backout snapshot list",
        )
    return found


def _described(snapshot: Snapshot) -> tuple[str | None, tuple[str, ...], int, int]:
    """(newest migration in it, its extensions, major version, bytes of its database)."""
    if snapshot.kind is SnapshotKind.ADOPTED:
        return snapshot.history_head, (), snapshot.server_version // 10000, snapshot.size_bytes
    whole = manifest.read(Path(snapshot.directory))
    facts = whole.origin.facts
    names = tuple(name for name, _ in facts.extensions)
    return whole.history_head, names, facts.server_version // 10000, facts.size_bytes


def _free(directory: Path) -> int:
    place = next(path for path in (directory, *directory.parents) if path.exists())
    return shutil.disk_usage(place).free


def _require_room(choice: Choice) -> None:
    if choice.free_bytes < choice.need_bytes:
        raise Stopped(
            f"the restored instance needs {choice.need_bytes} bytes, {choice.free_bytes} are free",
            where=choice.directory,
            intact=_INTACT,
            next="free some space there, or set BACKOUT_STATE to another disk, then: backout restore",
        )
