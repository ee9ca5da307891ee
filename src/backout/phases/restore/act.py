"""Restore the state before the migration as a new instance, and open it to the application when allowed."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace

from backout.errors import Refused
from backout.model.cutover import CutoverBudget
from backout.model.plan import Rehearsal
from backout.model.recovery import Commit, Line, Lsn, TwinBefore
from backout.model.restore import Carried, LogSource, NewSide, NoRestore, RestorePlan, Serving
from backout.model.snapshot import BeforeUp
from backout.model.triage import Triage
from backout.phases.restore import decide, gather
from backout.phases.restore.databases import NewDatabases
from backout.phases.restore.facts import Ground
from backout.ports.backups import Backups, Listening
from backout.ports.run import Run
from backout.ports.traffic import Address, Traffic
from backout.ports.world import NewPlace, World
from backout.postgres import names, own_schema, standing_around
from backout.postgres.connect import elsewhere, open_session
from backout.postgres.physical.serving_source import read_source
from backout.postgres.routing import make_writable
from backout.postgres.stage import copy_dsn

REHEARSAL = "rehearsal.B"
NONE = "restore.none"


def instance_of(incident: str) -> str:
    """Name of the instance that may become the new server; one for an incident, in every round."""
    return f"{incident}-new"


def make(run: Run, world: World, found: Triage, before: BeforeUp, *, again: bool) -> NewSide:
    """The instance, restored to just before the migration's commit, once an incident. `again`: an earlier
    round has merged states into it for good, so it is made anew."""

    def act() -> NewSide:
        begun = time.monotonic()
        xid, lsn = before.commits[0]
        line = Line(found.identity.target.system_identifier, before.timeline)
        target = TwinBefore(line, Commit(int(xid), Lsn.parse(lsn)))
        name = instance_of(run.incident)
        if again:
            retire(world, decide.new_side(before, name, "", 0.0))
            _backups(world).destroy(name)
        run.progress("restoring a new instance to just before the migration")
        made = _backups(world).restore_new(target, name)
        return decide.new_side(before, made.name, made.backup, round(time.monotonic() - begun, 1))

    return run.step("restore.new", NewSide, lambda _: act())


def plan(
    run: Run,
    world: World,
    before: BeforeUp,
    uncovered: tuple[str, ...],
    log: LogSource,
    new: NewSide,
    carried: Carried,
) -> tuple[RestorePlan, Ground]:
    """What people would approve, with both sides as they were read."""
    place = _place(world)
    name = f"backout/{run.incident}/restore"
    ground = run.step("restore.ground", Ground, lambda _: gather.gather(world, place, new, name))
    price = _lever(world, place, new).price()
    made = RestorePlan(
        new=new,
        before=before.before,
        migrated=before.after,
        log=log,
        forecast=carried,
        uncovered=uncovered,
        missing=decide.surroundings(ground).missing,
        lever=price.lever,
        promise=price.promise.value,
        pause=price.pause,
        unattended=price.unattended,
        address=f"{place.host}:{place.port}/{new.database}",
        listen=place.listen,
        hold_ms=CutoverBudget().total,
        way_back_hours=place.way_back_hours,
        proof_seconds=place.proof_seconds,
        expected_schema=ground.new_schema,
        canary_seconds=place.canary_seconds,
    )
    return made, ground


def states_source(run: Run, before: BeforeUp) -> LogSource:
    """Without a guard: a slot of our own, made when the states are merged."""
    slot = names.states_slot(run.incident, run.round)
    return LogSource("", slot, (slot,), "", tuple(xid for xid, _ in before.commits))


def why_no_slot(world: World, name: str) -> str:
    """Why no slot could be made on the live database when it is needed; empty when one can."""
    with world.databases.snapshot(name) as session:
        level = standing_around.setting(session, "wal_level")
        row = session.execute(
            "SELECT rolreplication OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
        ).fetchone()
    if level != "logical":
        return f"wal_level is {level}: no slot can carry the writes"
    return "" if row == (True,) else "the role of dsn.snapshot may not replicate"


def record(
    run: Run,
    world: World,
    found: Triage,
    down: Rehearsal | None,
    made: RestorePlan,
    ground: Ground,
    copy: str,
) -> Rehearsal:
    """The rehearsal of the restore."""
    migrator = world.migrator
    base = decide.bare(copy, migrator.version(), migrator.environment_digest())
    return run.step(
        REHEARSAL,
        Rehearsal,
        lambda _: decide.rehearsed(down, made, ground, found.offending[-1], base),
    )


def none(run: Run, why: str) -> NoRestore:
    """Record that no restore is offered."""
    return run.step(NONE, NoRestore, lambda _: NoRestore(why))


def serve(run: Run, world: World, chosen: RestorePlan, role: str) -> Serving:
    """Open the restored instance to the application; from here on nothing of ours destroys it by itself.

    `role` is the tool's own: it takes over what is ours there. Safe to repeat.
    """

    def act(name: str) -> Serving:
        place, backups = _place(world), _backups(world)
        run.progress("the restored instance is opened to the application")
        with world.databases.observe(name) as old:
            source = read_source(old)
        with closing(_lever(world, place, chosen.new)) as lever:
            lever.keep_away()
        serving = backups.serve(chosen.new.instance, Listening(place.listen, place.port), source).serving
        assert serving is not None, "it was told to serve, and did not refuse"
        dsn = copy_dsn(world, chosen.new.database, chosen.new.instance)
        with open_session(dsn, name) as session:
            make_writable(session)
            own_schema.hand_over(session, role)
            session.execute("ANALYZE")
        return Serving(chosen.address, serving.notes, serving.start_command)

    return run.step("restore.serving", Serving, lambda attempt: act(attempt.name))


def retire(world: World, new: NewSide) -> None:
    """Isolate it again when it was opened. Raises `Refused` when the lever leads to it: a person moved
    traffic, and it is the production now."""
    backups = world.backups
    if backups is None or not any(i.name == new.instance and i.serving for i in backups.instances()):
        return
    if world.place is not None:
        _require_not_led_to(world, world.place, new)
    backups.retire(new.instance)


def _require_not_led_to(world: World, place: NewPlace, new: NewSide) -> None:
    there = Address(place.host, place.port, new.database)
    with closing(_lever(world, place, new)) as lever:
        led = [one.who for one in lever.read_back() if one.now == there]
    if led:
        raise Refused(
            f"{led[0]} leads to the restored instance {new.instance}",
            where=str(there),
            intact="everything; the instance serves on, and the incident stays open",
            next="lead it away from there, then: backout close",
        )


def alive(world: World, chosen: RestorePlan) -> None:
    """Before anything happens: the three instances are still there. Raises `UnknownName`."""
    for instance in (chosen.new.instance, chosen.before, chosen.migrated):
        copy_dsn(world, chosen.new.database, instance)


def on_new_side(world: World, chosen: RestorePlan, role: str) -> World:
    """The same target on its new side, entered by our own door."""
    dsn = copy_dsn(world, chosen.new.database, chosen.new.instance)
    return replace(world, databases=NewDatabases(dsn, role))


def _lever(world: World, place: NewPlace, new: NewSide) -> Traffic:
    """The lever, with our own door into the new side, in another database than the application's."""
    return place.traffic(new.database, elsewhere(copy_dsn(world, new.database, new.instance), new.database))


def _backups(world: World) -> Backups:
    if world.backups is None:
        raise _gone("backups", world)
    return world.backups


def _place(world: World) -> NewPlace:
    if world.place is None:
        raise _gone("traffic", world)
    return world.place


def _gone(table: str, world: World) -> Refused:
    return Refused(
        f"target.{world.target}.{table} is no longer in backout.toml",
        where=world.target,
        intact="everything; nothing was changed",
        next="put it back, then: backout propose",
    )
