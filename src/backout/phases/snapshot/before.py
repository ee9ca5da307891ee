"""The state before the migration: both sides of it from a base backup and the WAL, else an older snapshot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backout.errors import BackoutError
from backout.model.recovery import BadMigration, Line, NotInWal, twin_after, twin_before
from backout.model.snapshot import BeforeUp, Snapshot, SnapshotKind
from backout.model.target import CopyMarker
from backout.model.triage import Triage
from backout.phases.snapshot import decide, registry
from backout.phases.snapshot.act import COPY_LEASE, prepare
from backout.phases.snapshot.adopt import restore_adopted
from backout.ports.backups import Backups
from backout.ports.run import Attempt, Run
from backout.ports.servers import Scratch
from backout.ports.world import World
from backout.postgres import copies, manifest
from backout.postgres.binaries import client_for, for_major
from backout.postgres.connect import Session
from backout.postgres.physical.archiving import bring_wal
from backout.postgres.physical.first_bad import find_first_bad, read_commit_time


def before_up(run: Run, world: World, found: Triage, copy: str, *, destructive: bool) -> BeforeUp:
    """The state from before the migration, restored beside the copy; empty when there is none.

    Whole clusters are restored only for a `destructive` migration: one whose statements may have taken
    something away.
    """

    def restore(attempt: Attempt) -> BeforeUp:
        why_not = ""
        if world.backups is not None and destructive:
            try:
                return _twin(run, world, world.backups, found, attempt.name)
            except BackoutError as error:
                why_not = f"{error.what}; {error.next}" if error.next else error.what
                run.progress(f"no restore to just before the migration: {why_not}")
        return replace(_from_snapshot(run, world, found, copy, attempt.name), why_not=why_not)

    return run.step("snapshot.before_up", BeforeUp, restore)


def _twin(run: Run, world: World, backups: Backups, found: Triage, name: str) -> BeforeUp:
    """Two instances, just before the migration's commit and just after it. Raises what restoring raises."""
    target = found.identity.target
    line = Line(target.system_identifier, target.timeline)
    run.progress("looking for the migration in the WAL")
    with world.databases.snapshot(name) as session:
        late = bring_wal(session, backups)
        bad = _in_wal(session, backups, line, found, late)
    run.progress("restoring to just before the migration, and to just after it")
    twin = backups.restore_twin(twin_before(bad), twin_after(bad), run.incident)
    return BeforeUp(
        snapshot=f"{twin.before.backup} and the WAL",
        database=target.database,
        taken_at=bad.transactions[0].committed_at,
        before=twin.before.name,
        after=twin.after.name,
        commits_inside=bad.commits_inside,
        timeline=target.timeline,
        commits=tuple((str(one.xid), str(one.commit)) for one in bad.transactions),
    )


def _in_wal(session: Session, backups: Backups, line: Line, found: Triage, late: str) -> BadMigration:
    """The migration in the archive; `late` says why that may not reach up to now, empty when it does."""
    xid = found.committed.xid
    if xid is None:
        raise decide.not_in_wal("the history row does not tell its transaction")
    binaries = for_major(session.info.server_version // 10000)
    at = read_commit_time(session, int(xid))
    bad = find_first_bad(backups.wal(), binaries, line, [int(xid)], committed_at=at)
    if isinstance(bad, NotInWal):
        raise decide.not_archived_yet(late, str(session.info.user)) if late else decide.not_in_wal(bad.reason)
    return bad


def _from_snapshot(run: Run, world: World, found: Triage, copy: str, name: str) -> BeforeUp:
    offending = found.offending[-1]
    for snapshot in registry.newest_first(world.store.directory("snapshots", "x").parent):
        if snapshot.target == world.target and snapshot.kind is SnapshotKind.ADOPTED:
            if decide.is_before(snapshot.history_head, found.history, offending):
                run.progress(f"restoring {snapshot.id} from before the migration")
                database = f"{copy[:55]}_s0"
                restore_adopted(world, snapshot, database, name)
                return BeforeUp(snapshot.id, database, snapshot.taken_at)
            continue
        if snapshot.target != world.target or not snapshot.directory:
            continue
        try:
            whole = manifest.read(Path(snapshot.directory))
        except BackoutError:
            continue
        if not decide.is_before(whole.history_head, found.history, offending):
            continue
        run.progress(f"restoring {snapshot.id} from before the migration")
        scratch = prepare(world, name).scratch
        database = f"{copy[:55]}_s0"
        _restore_only(world, snapshot, scratch, database, name)
        return BeforeUp(snapshot.id, database, snapshot.taken_at, whole.origin.snapshot)
    return BeforeUp("", "", "")


def _restore_only(world: World, snapshot: Snapshot, scratch: Scratch, database: str, name: str) -> None:
    directory = Path(snapshot.directory)
    origin = manifest.read(directory).origin
    admin = world.servers.conninfo(scratch, "postgres")
    copies.destroy(scratch, admin, database)
    now = world.now()
    marker = CopyMarker(
        *(database, origin.system_identifier, origin.database),
        *(copies.rfc3339(now), copies.rfc3339(now + COPY_LEASE)),
    )
    binaries = client_for(snapshot.server_version // 10000)
    copies.restore_copy(
        *(directory, scratch, admin, database, binaries, marker), application_name=name, jobs=world.dump_jobs
    )
