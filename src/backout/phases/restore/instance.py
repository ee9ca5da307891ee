"""Make the new instance of a choice, and hand it over: never over anything, isolated before it starts."""

from __future__ import annotations

import time
from pathlib import Path

from backout.errors import Refused
from backout.model.check import Check, CheckState
from backout.model.recovery import DumpMoment, RecoveryTarget
from backout.model.restored import Choice, HandedOver, Restored
from backout.model.snapshot import Snapshot, SnapshotKind
from backout.phases.restore import judge
from backout.phases.restore.databases import NewDatabases
from backout.ports.backups import Instance, Surroundings
from backout.ports.run import Attempt, Run
from backout.ports.world import World
from backout.postgres import manifest
from backout.postgres.asking import attempt as ask_for
from backout.postgres.connect import identify, open_session
from backout.postgres.consistency import read_back
from backout.postgres.physical.from_dump import Dump, restore_dump
from backout.postgres.physical.growing import telling
from backout.postgres.physical.instances import Instances
from backout.postgres.source_facts import read_source_facts


def instance_of(run: Run) -> str:
    """Name of the instance of this round: a restore that failed keeps its own."""
    return f"{run.incident}-{run.round}"


def instances(world: World) -> Instances:
    """The restored instances of this state directory, whatever they were made from."""
    return Instances(Surroundings(world.instances, world.project))


def make(run: Run, world: World, choice: Choice, snapshot: Snapshot | None) -> Restored:
    """The instance of this round; a whole one that is there already is the result, a half made one goes."""
    return run.step(
        "restore.instance", Restored, lambda attempt: _make(run, world, choice, snapshot, attempt)
    )


def _make(run: Run, world: World, choice: Choice, snapshot: Snapshot | None, attempt: Attempt) -> Restored:
    begun = time.monotonic()
    name = instance_of(run)
    run.progress(f"restoring {choice.backup} to the new instance {name}")
    here = instances(world)
    with telling(lambda: here.directory(name), choice.restore_bytes, run.progress):
        if isinstance(choice.target, DumpMoment):
            return _from_dump(run, world, choice, snapshot, attempt.name, name, begun)
        return _from_backup(world, choice, choice.target, name, begun)


def _from_backup(world: World, choice: Choice, target: RecoveryTarget, name: str, begun: float) -> Restored:
    assert world.backups is not None, "it was chosen from its backups"
    made = world.backups.restore_new(target, name)
    return _restored(made, choice.restore_bytes, begun)


def _restored(made: Instance, size: int, begun: float, notes: tuple[str, ...] = ()) -> Restored:
    return Restored(
        instance=made.name,
        seconds=round(time.monotonic() - begun, 1),
        bytes=size,
        evidence=made.reached.log_line,
        replayed_to=str(made.reached.replayed_to) if made.reached.replayed_to.position else "",
        directory=made.data_directory,
        notes=notes,
    )


def _from_dump(
    run: Run,
    world: World,
    choice: Choice,
    snapshot: Snapshot | None,
    application: str,
    name: str,
    begun: float,
) -> Restored:
    assert isinstance(choice.target, DumpMoment)
    if snapshot is None:
        raise Refused(
            f"snapshot {choice.backup} is not in the store any more",
            where=world.target,
            intact="everything; nothing was restored",
            next="backout snapshot list",
        )

    filled = restore_dump(
        instances(world),
        name,
        _dump(world, choice.target, snapshot, choice.database, application),
        application=application,
        jobs=world.dump_jobs,
        watch=lambda: None,
    )
    return _restored(filled.instance, filled.bytes, begun, filled.notes)


def _dump(world: World, moment: DumpMoment, snapshot: Snapshot, database: str, name: str) -> Dump:
    if snapshot.kind is SnapshotKind.DUMP:
        origin = manifest.read(Path(snapshot.directory)).origin
        return Dump(
            *(moment, Path(snapshot.directory), snapshot.manifest_sha256, True, database, origin.facts),
            *(origin.system_identifier, origin.timeline),
        )
    with world.databases.observe(name) as session:
        facts, identity = read_source_facts(session), identify(session).target
    return Dump(
        *(moment, Path(snapshot.path), snapshot.manifest_sha256, False, database, facts),
        *(identity.system_identifier, identity.timeline),
    )


def there(world: World, name: str) -> Instance | None:
    """The whole instance of this name, when it still is there."""
    return next((one for one in instances(world).all() if one.name == name), None)


def databases(world: World, choice: Choice, made: Restored) -> NewDatabases:
    """Sessions on the restored database, through the private door of its instance."""
    found = there(world, made.instance)
    role = found.role if found is not None else ""
    return NewDatabases(instances(world).conninfo(made.instance, choice.database), role)


def hand_over(run: Run, world: World, choice: Choice, made: Restored) -> HandedOver:
    """ANALYZE, then durability and isolation as the server itself answers."""
    return run.step("restore.handed", HandedOver, lambda attempt: _hand_over(world, choice, made, attempt))


def _hand_over(world: World, choice: Choice, made: Restored, attempt: Attempt) -> HandedOver:
    dsn = instances(world).conninfo(made.instance, choice.database)
    found = there(world, made.instance)
    assert found is not None, "its connection was given just now"
    with open_session(dsn, attempt.name) as session:
        _, refused = ask_for(lambda: session.execute("ANALYZE"))
        read = read_back(session, (*judge.DURABLE, *judge.ISOLATED))
    analyzed = Check("analyze", CheckState.FAIL if refused else CheckState.PASS, refused or "every table")
    durable = "fsync, full_page_writes and synchronous_commit are on"
    isolated = "no network address, archive, primary, subscription worker or preloaded library"
    checks = (
        analyzed,
        judge.settings("durable", judge.DURABLE, read, durable),
        judge.settings("isolated", judge.ISOLATED, read, isolated),
        judge.cut_off(found.cut_off),
    )
    return HandedOver(dsn, found.lease_until, checks)
