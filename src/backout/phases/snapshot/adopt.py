"""Take in a backup that somebody else made: restored once, read, registered; it stays where it lies."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from backout.errors import Refused
from backout.model.snapshot import Proof, Scope, Snapshot, SnapshotKind, TableContents
from backout.model.target import CopyMarker
from backout.phases.snapshot import decide, registry
from backout.phases.snapshot.act import COPY_LEASE, new_identifier, prepare
from backout.phases.snapshot.facts import Proven
from backout.ports.run import Attempt, Run
from backout.ports.servers import Scratch
from backout.ports.world import World
from backout.postgres import activity, adopted, copies
from backout.postgres.binaries import client_for
from backout.postgres.connect import identify, open_session
from backout.postgres.names import copy_database
from backout.postgres.source_facts import read_source_facts


def adopt(run: Run, world: World, path: Path, taken_at: str) -> Proven:
    """Restore a backup that somebody else made, read it, and register it; the file is only read."""
    return run.step("snapshot.adopted", Proven, lambda attempt: _adopt(run, world, path, taken_at, attempt))


def _adopt(run: Run, world: World, path: Path, taken_at: str, attempt: Attempt) -> Proven:
    begun = time.monotonic()
    identifier = new_identifier()
    database = copy_database(run.incident, 1)
    scratch = prepare(world, attempt.name).scratch
    run.progress("restoring it to a scratch server, and reading it")
    seen = _fill_adopted(world, path, scratch, database, attempt.name)
    dsn = world.servers.conninfo(scratch, database)
    with open_session(dsn, attempt.name) as session:
        head = world.migrator.history(session).head
        version = session.info.server_version
        size = activity.database_size(session)
    copies.destroy(scratch, world.servers.conninfo(scratch, "postgres"), database)
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    snapshot = Snapshot(
        id=identifier,
        kind=SnapshotKind.ADOPTED,
        scope=Scope.WHOLE,
        target=world.target,
        database=database,
        taken_at=taken_at or seen.newest or changed,
        begun_at="",
        lsn="",
        server_version=version,
        directory="",
        size_bytes=size,
        manifest_sha256=seen.sha256,
        tables=tuple(TableContents(name, rows, "") for name, rows in seen.tables),
        note=decide.dated(taken_at, seen.newest, changed),
        seconds=round(time.monotonic() - begun, 1),
        path=str(path),
        history_head=head.name if head else "",
    )
    root = world.store.directory("snapshots", identifier).parent
    registry.write(root, snapshot)
    proof_of_it = Proof(
        snapshot=identifier,
        copy=database,
        proven_at=world.now().isoformat(timespec="seconds"),
        tables_equal=len(seen.tables),
        tables_total=len(seen.tables),
        rows=seen.rows,
        checks=decide.adopted_checks(seen, snapshot),
        restore_seconds=snapshot.seconds,
        read_seconds=0.0,
        bytes_per_second=size / snapshot.seconds if snapshot.seconds else 0.0,
    )
    registry.write_proof(root, proof_of_it)
    return Proven(snapshot, proof_of_it)


def _fill_adopted(world: World, path: Path, scratch: Scratch, database: str, name: str) -> adopted.Adopted:
    with world.databases.observe(name) as session:
        facts = read_source_facts(session)
        identity = identify(session)
    now = world.now()
    marker = CopyMarker(
        *(database, identity.target.system_identifier, identity.target.database),
        *(copies.rfc3339(now), copies.rfc3339(now + COPY_LEASE)),
    )
    admin = world.servers.conninfo(scratch, "postgres")
    copies.destroy(scratch, admin, database)
    return adopted.restore(
        *(path, admin, database, facts, client_for(facts.server_version // 10000), marker),
        application_name=name,
        jobs=world.dump_jobs,
    )


def restore_adopted(world: World, snapshot: Snapshot, database: str, name: str) -> None:
    """Again, for an incident; raises `Refused` when the file is not the one that was adopted."""
    path = Path(snapshot.path)
    if not path.exists() or adopted.digest(path) != snapshot.manifest_sha256:
        raise Refused(
            f"{snapshot.id} is not the backup any more that was adopted",
            where=snapshot.path,
            intact="production",
            next=f"backout snapshot drop {snapshot.id}, then: backout snapshot adopt FILE",
        )
    _fill_adopted(world, path, prepare(world, name).scratch, database, name)
