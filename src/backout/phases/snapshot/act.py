"""Take a backup snapshot, prove it by restoring it, and keep the restored copy for the rehearsal.

Invariant: nothing is called proven that was not restored to a scratch server and read, table by table.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backout.errors import Refused
from backout.model.check import Check, CheckState
from backout.model.loss import SchemaDifference
from backout.model.snapshot import Proof, Scope, Snapshot, SnapshotKind
from backout.model.statement import Statement
from backout.model.target import CopyMarker
from backout.phases.snapshot import decide, registry
from backout.phases.snapshot import radius as radius_of
from backout.phases.snapshot.facts import Found, Proven
from backout.ports.run import Attempt, Run
from backout.ports.servers import Scratch
from backout.ports.world import World
from backout.postgres import activity, copies, dump, fitting, manifest, proof
from backout.postgres.binaries import Binaries, client_for
from backout.postgres.catalog import differences, portable, read_schema
from backout.postgres.connect import open_session
from backout.postgres.names import copy_database
from backout.postgres.source_facts import read_source_facts
from backout.postgres.stand_ins import stand_in

COPY_LEASE = timedelta(hours=24)
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
# A restore needs the data, its indexes and WAL once more, and each clone of the copy as much again.
_SPACE_FACTOR = 4


@dataclass(frozen=True, slots=True)
class _Ready:
    """A scratch server that fits the source, and the client programs that read it."""

    scratch: Scratch
    binaries: Binaries


def take_and_prove(run: Run, world: World, statements: tuple[Statement, ...] = ()) -> Proven:
    """A proven snapshot of this round; one of an earlier round counts while its copy still stands.

    `statements` are those that triage captured: they decide how much has to be restored.
    """
    return run.step("snapshot.proven", Proven, lambda attempt: _proven(run, world, statements, attempt))


def _proven(run: Run, world: World, statements: tuple[Statement, ...], attempt: Attempt) -> Proven:
    earlier = run.earlier("snapshot.proven", Proven)
    if earlier is not None and _still_stands(world, earlier, attempt.name):
        run.progress(f"{earlier.snapshot.id} of an earlier round is still proven")
        return earlier
    radius, outside = _scope(run, world, statements, attempt.name)
    return _take_and_prove(run, world, radius, outside, copy_database(run.incident, run.round), attempt.name)


def widen(run: Run, world: World, proven: Proven) -> Proven:
    """The whole database instead, once: a rehearsal reached a table outside of the radius."""
    database = f"{proven.proof.copy[:60]}_w"

    def whole(attempt: Attempt) -> Proven:
        return _take_and_prove(run, world, (), (), database, attempt.name)

    return run.step("snapshot.widened", Proven, whole)


def _take_and_prove(
    run: Run, world: World, radius: tuple[str, ...], outside: tuple[str, ...], database: str, name: str
) -> Proven:
    ready = prepare(world, name)
    snapshot = take(run, world, name, radius, outside)
    return Proven(snapshot, prove(run, world, snapshot, ready.scratch, database, name))


def _scope(
    run: Run, world: World, statements: tuple[Statement, ...], name: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(tables inside, tables whose rows are left out); both empty = the whole database."""
    with world.databases.observe(name) as session:
        size = activity.database_size(session)
        schema = read_schema(session)
        history = world.migrator.history(session).table
    if not decide.wants_radius(world.scope, size):
        return (), ()
    inside = radius_of.reach(statements, schema)
    if inside is None:
        run.progress("the blast radius cannot be told: the whole database is taken")
        return (), ()
    keep = {*inside, history}
    outside = tuple(t.qualified for t in schema.tables if t.has_rows and t.qualified not in keep)
    run.progress(f"blast radius: {len(inside)} of {len(schema.tables)} tables")
    return tuple(sorted(keep)), outside


def _still_stands(world: World, proven: Proven, name: str) -> bool:
    """Whether the copy is there, and has the schema that the target has now."""
    for scratch in world.servers.running():
        for copy in copies.list_copies(world.servers.conninfo(scratch, "postgres"), scratch.name):
            if copy.database == proven.proof.copy and copy.marker is not None:
                return not _schema_differences(world, world.servers.conninfo(scratch, copy.database), name)
    return False


def prepare(world: World, name: str) -> _Ready:
    """A scratch server that fits. Raises `Refused` with every item that does not, and what mends it."""
    with world.databases.observe(name) as session:
        facts = read_source_facts(session)
    fitting.require(world.servers, facts, facts.size_bytes * _SPACE_FACTOR, world.target)
    return _Ready(world.servers.start(facts), client_for(facts.server_version // 10000))


def new_identifier() -> str:
    """`snap-` and four characters that nobody confuses."""
    return "snap-" + "".join(secrets.choice(_ALPHABET) for _ in range(4))


def take(
    run: Run, world: World, name: str, radius: tuple[str, ...] = (), outside: tuple[str, ...] = ()
) -> Snapshot:
    """Dump the target, read the dump back to its last row, write the manifest last.

    `outside` are the tables whose rows are left out (scope blast radius).
    """
    begun = time.monotonic()
    identifier = new_identifier()
    directory = world.store.directory("snapshots", identifier)
    with world.databases.observe(name) as session:
        head = world.migrator.history(session).head
        binaries = client_for(session.info.server_version // 10000)
    run.progress("dumping")
    result = dump.take_dump(
        world.databases.snapshot_dsn(),
        binaries,
        directory,
        application_name=name,
        jobs=world.dump_jobs,
        exclude_data=outside,
    )
    run.progress("reading the dump back")
    contents = dump.read_back(directory, binaries)
    whole, sha256 = dump.finish(result, contents, head.name if head else "")
    snapshot = Snapshot(
        id=identifier,
        kind=SnapshotKind.DUMP,
        scope=Scope.BLAST_RADIUS if outside else Scope.WHOLE,
        target=world.target,
        database=whole.origin.database,
        taken_at=whole.finished_at,
        begun_at=whole.origin.begun_at,
        lsn=whole.origin.lsn,
        server_version=whole.origin.facts.server_version,
        directory=str(directory),
        size_bytes=whole.size_bytes,
        manifest_sha256=sha256,
        tables=tuple(table.contents for table in whole.contents.tables),
        radius=radius,
        seconds=round(time.monotonic() - begun, 1),
    )
    registry.write(directory.parent, snapshot)
    return snapshot


def prove(run: Run, world: World, snapshot: Snapshot, scratch: Scratch, database: str, name: str) -> Proof:
    """Restore the snapshot to the scratch server and read every table of the copy."""
    directory = Path(snapshot.directory)
    whole = manifest.verify(directory, snapshot.manifest_sha256)
    binaries = client_for(snapshot.server_version // 10000)
    admin = world.servers.conninfo(scratch, "postgres")
    copies.destroy(scratch, admin, database)
    now = world.now()
    origin = whole.origin
    marker = CopyMarker(
        *(database, origin.system_identifier, origin.database),
        *(copies.rfc3339(now), copies.rfc3339(now + COPY_LEASE)),
    )
    run.progress("restoring to a scratch server")
    restored = copies.restore_copy(
        *(directory, scratch, admin, database, binaries, marker),
        application_name=name,
        jobs=world.dump_jobs,
    )
    run.progress("reading the copy, table by table")
    dsn = world.servers.conninfo(scratch, database)
    found = proof.prove(directory, whole, dsn, binaries, application_name=name)
    checks = (*found.checks, *_schema(world, dsn, name), *_notes(restored.notes))
    answer = Proof(
        snapshot=snapshot.id,
        copy=database,
        proven_at=world.now().isoformat(timespec="seconds"),
        tables_equal=found.tables_equal,
        tables_total=found.tables_total,
        rows=found.rows,
        checks=checks,
        restore_seconds=round(restored.seconds, 1),
        read_seconds=round(found.seconds, 1),
        bytes_per_second=restored.bytes_per_second,
    )
    if not answer.holds:
        raise _not_proven(world, snapshot, answer, found.differing)
    registry.write_proof(directory.parent, answer)
    return answer


def _schema(world: World, dsn: str, name: str) -> tuple[Check, ...]:
    """The copy's schema against the source's. Invalid indexes are in no dump: the copy gets stand-ins."""
    with world.databases.observe(name) as session:
        source = read_schema(session)
    stood_in = stand_in(source, dsn, name)
    equal = decide.schema_check(_schema_differences(world, dsn, name))
    told = [Check("invalid index", CheckState.PASS, f"{index}: a stand-in on the copy") for index in stood_in]
    return (equal, *told)


def _schema_differences(world: World, dsn: str, name: str) -> tuple[SchemaDifference, ...]:
    """What the copy has more, less or otherwise than the target has now."""
    with world.databases.observe(name) as session:
        ignore = frozenset({world.migrator.history(session).table})
        source = read_schema(session)
    with open_session(dsn, name) as session:
        copy = read_schema(session)
    return differences(portable(source), portable(copy), ignore)


def _notes(notes: tuple[str, ...]) -> tuple[Check, ...]:
    return tuple(Check("restore", CheckState.WARN, note) for note in notes)


def _not_proven(world: World, snapshot: Snapshot, answer: Proof, differing: tuple[str, ...]) -> Refused:
    bad = [f"{c.name}: {c.detail}" for c in answer.checks if not c.good]
    return Refused(
        f"{snapshot.id} is not proven: {'; '.join([*differing, *bad]) or 'tables differ'}",
        where=world.target,
        intact="production; the snapshot stays, marked as not proven",
        next="backout propose",
    )


def whole_since(run: Run, world: World, opened_at: str) -> Snapshot | None:
    """The newest whole snapshot with an ID taken after `opened_at`: our dump, or one a person recorded."""

    def look() -> Found:
        root = world.store.directory("snapshots", "x").parent
        fitting = [
            s
            for s in registry.newest_first(root)
            if s.target == world.target and decide.is_whole_since(s, opened_at)
        ]
        return Found(fitting[0] if fitting else None)

    return run.look("snapshot.whole", Found, look).snapshot


def fresh(run: Run, world: World) -> Snapshot:
    """A snapshot taken after the permit, fully read back, not proven; a stale one is taken anew."""
    number = 1
    while (known := run.result(f"snapshot.fresh.{number}", Snapshot)) is not None:
        if decide.is_fresh(known, world.now()):
            return known
        number += 1
    return run.step(f"snapshot.fresh.{number}", Snapshot, lambda attempt: take(run, world, attempt.name))
