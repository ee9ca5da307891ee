"""Find the offending migration and what it touched; production is only read."""

from __future__ import annotations

from dataclasses import replace

from backout.errors import BackoutError
from backout.model.incident import Incident
from backout.model.migration import History
from backout.model.triage import Triage
from backout.phases.triage import capture, decide, gather, halfway
from backout.phases.triage.facts import Captured, Ground, Half, Scene
from backout.ports.run import Attempt, Run
from backout.ports.world import World
from backout.postgres import activity


def find(run: Run, world: World, incident: Incident) -> Triage:
    """Triage. A later round knows it already, unless nothing could be captured, or a file of the migrations
    came back or was edited since."""
    earlier = run.earlier("triage.find", Triage)
    known = None if earlier is not None and earlier.uncaptured else earlier

    def look(attempt: Attempt) -> Triage:
        again = f"backout open --target {world.target}"
        with activity.naming_holders(lambda: world.databases.observe(attempt.name), world.target, again):
            if known is None:
                return _find(run, world, incident, attempt)
            if _same_files(world, known):
                return known
            # the same migrations as before: what came to the history since must not be taken for them
            asked = tuple(name for name in known.offending if name not in known.collateral)
            return _find(run, world, replace(incident, migrations=asked, last=0), attempt)

    return run.step("triage.find", Triage, look)


def _same_files(world: World, known: Triage) -> bool:
    names = [file.name for file in known.files]
    return gather.files_of(world, names, world.migrator.files()) == known.files


def _find(run: Run, world: World, incident: Incident, attempt: Attempt) -> Triage:
    run.progress("reading history, files and catalog")
    with world.databases.observe(attempt.name) as session:
        history = world.migrator.history(session)
    decide.refuse_in_progress(gather.in_progress(world, history, attempt.name), history)
    pending = gather.pending_files(world, history)
    captured_up: tuple[tuple[str, Captured], ...] = ()
    captured = Captured((), (), "")
    note = ""
    try:
        run.progress("capturing the statements on a schema-only copy")
        if pending:
            with capture.bench(world, incident.id, history, attempt.name) as bench:
                captured_up = halfway.pending_ups(bench, pending, history)
        ground = gather.ground(world, captured_up, attempt.name)
        named = decide.name_offending(ground, incident.migrations, incident.last)
        with capture.bench(world, incident.id, history, attempt.name) as bench:
            if named.partly:
                captured = dict(captured_up).get(named.names[-1], captured)
                captured = halfway.down_of(bench, captured, history)
            else:
                captured = halfway.up_and_down(bench, len(named.names))
    except BackoutError as error:
        if error.exit_code in (2, 3) and captured_up:
            raise
        note = f"unknown: {error.what}" + (f"; first: {error.next}" if error.next else "")
        ground = gather.ground(world, captured_up, attempt.name)
        named = decide.name_offending(ground, incident.migrations, incident.last)
    half = Half() if named.partly else gather.half(world, captured, len(named.names), attempt.name)
    scene = gather.scene(world, history, named.names[-1], captured, attempt.name)
    return _record(world, ground, named, captured, note, scene, half)


def _record(
    world: World,
    ground: Ground,
    named: decide.Named,
    captured: Captured,
    note: str,
    scene: Scene,
    half: Half,
) -> Triage:
    return Triage(
        identity=ground.identity,
        database_bytes=ground.database_bytes,
        history=ground.history,
        offending=named.names,
        candidates=decide.halved(decide.candidates(ground), named.names[-1], half),
        files=gather.files_of(world, named.names, ground.files),
        committed=scene.committed,
        applied_by=scene.applied_by,
        up=captured.up,
        down=captured.down,
        captured=note or captured.how,
        touched=scene.touched,
        blockers=ground.blockers,
        invalid_indexes=ground.invalid_indexes,
        affected=scene.affected,
        affected_note=scene.affected_note,
        tables=ground.tables,
        migrations_applied=len(ground.history.rows),
        writes_per_second=scene.writes_per_second,
        collateral=named.collateral,
        partly_applied=named.partly or half.broke_off,
        damaged=half.damaged,
        up_known=captured.up_known,
    )


def history_of(world: World, name: str) -> History:
    """The history of the target, as it is now."""
    with world.databases.observe(name) as session:
        return world.migrator.history(session)
