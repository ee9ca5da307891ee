"""The verbs about snapshots: take, prove, record, list, drop."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from backout.app import copies, lock
from backout.app.desk import Desk
from backout.app.results import SnapshotAnswer, SnapshotList
from backout.errors import Refused, UnknownName
from backout.model.journal import EntryKind
from backout.model.snapshot import Scope, Snapshot, SnapshotKind
from backout.phases.snapshot import registry
from backout.phases.snapshot.facts import Proven
from backout.ports.world import World
from backout.runbooks.rehearse import adopt_snapshot, prove_snapshot, take_snapshot


def take(desk: Desk, target: str | None, *, prove: bool) -> SnapshotAnswer:
    """Take (and prove) a snapshot outside of an incident: an exercise, with a journal of its own."""
    name = desk.app.target_name(target)
    world = desk.app.world(name)
    with lock.worker(desk.app.state, "snapshot", desk.actor):
        exercise = desk.new_incident(name, world.environment, "snapshot", prefix="exc")
        run = desk.story(exercise.id)
        if prove:
            proven = prove_snapshot(run, world)
            copies.give_up(desk, exercise.id, name)
            return SnapshotAnswer(proven.snapshot, proven.proof, "nothing")
        snapshot = take_snapshot(run, world)
    return SnapshotAnswer(snapshot, None, f"backout snapshot prove --target {name}")


def prove_for_incident(desk: Desk, incident_id: str) -> SnapshotAnswer:
    """Take and prove the snapshot of an incident's round now; `propose` goes on with it."""
    incident = desk.incident(incident_id)
    world = desk.app.world(incident.target)
    with lock.worker(desk.app.state, "snapshot prove", desk.actor):
        proven: Proven = prove_snapshot(desk.story(incident.id), world)
    return SnapshotAnswer(proven.snapshot, proven.proof, f"backout propose {incident.id}")


def record(desk: Desk, target: str | None, identifier: str, taken_at: str) -> SnapshotAnswer:
    """Write down a snapshot that somebody else holds (a provider's ID); it proves nothing by itself."""
    name = desk.app.target_name(target)
    world = desk.app.world(name)
    snapshot = Snapshot(
        id=identifier,
        kind=SnapshotKind.PROVIDER,
        scope=Scope.RECORDED,
        target=name,
        database="",
        taken_at=taken_at or datetime.now(UTC).isoformat(timespec="seconds"),
        begun_at="",
        lsn="",
        server_version=0,
        directory="",
        size_bytes=0,
        manifest_sha256="",
        tables=(),
        note=f"recorded by {desk.actor}",
    )
    registry.write(_root(world), snapshot)
    return SnapshotAnswer(snapshot, None, "nothing")


def adopt(desk: Desk, target: str | None, path: Path, taken_at: str) -> SnapshotAnswer:
    """Restore a backup that somebody else made to a scratch server, read and register it."""
    name = desk.app.target_name(target)
    world = desk.app.world(name)
    if not path.exists():
        raise UnknownName(
            f"no file {path}", where=name, intact="everything", next="backout snapshot adopt FILE"
        )
    with lock.worker(desk.app.state, "snapshot adopt", desk.actor):
        exercise = desk.new_incident(name, world.environment, "snapshot", prefix="exc")
        proven = adopt_snapshot(desk.story(exercise.id), world, path.resolve(), taken_at)
        copies.give_up(desk, exercise.id, name)
    return SnapshotAnswer(proven.snapshot, proven.proof, _after_adopting(desk, name))


def _after_adopting(desk: Desk, target: str) -> str:
    """In an incident the backup is there to be proposed from; the newest one that waits for it."""
    waiting = [i for i in desk.open_incidents() if desk.incident(i).target == target]
    return f"backout propose {waiting[-1]}" if waiting else "nothing"


def listing(desk: Desk, target: str | None) -> SnapshotList:
    """All snapshots in the store of this target, newest first."""
    name = desk.app.target_name(target)
    root = _root(desk.app.world(name))
    found = [s for s in registry.newest_first(root) if s.target == name]
    proven = [s.id for s in found if registry.proof_of(root, s.id) is not None]
    return SnapshotList(tuple(found), tuple(proven), "nothing" if found else "backout snapshot prove")


def _root(world: World) -> Path:
    return world.store.directory("snapshots", "x").parent


def drop(desk: Desk, target: str | None, identifier: str) -> SnapshotList:
    """Delete a snapshot's files. Refused while an open incident stands on it."""
    name = desk.app.target_name(target)
    root = _root(desk.app.world(name))
    found = [s for s in registry.newest_first(root) if s.id == identifier]
    if not found:
        raise UnknownName(
            f"no snapshot {identifier!r}",
            where=str(root),
            intact="everything; nothing was deleted",
            next="backout snapshot list",
        )
    for incident_id in desk.open_incidents():
        if _uses(desk, incident_id, identifier):
            raise Refused(
                f"{incident_id} stands on {identifier}",
                where=found[0].directory or str(root),
                intact="the snapshot",
                next=f"backout close {incident_id}",
            )
    if found[0].directory:
        shutil.rmtree(found[0].directory, ignore_errors=True)
    registry.forget(root, identifier)
    return listing(desk, name)


def _uses(desk: Desk, incident_id: str, identifier: str) -> bool:
    return any(
        e.kind is EntryKind.FINISHED and e.body.get("type") == "Proven" and identifier in str(e.body)
        for e in desk.app.journal.read(incident_id)
    )
