"""The cutover of one incident, whole: made ready, entered, moved, proved, on the ground of its plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime

from backout.errors import NeighbourUnreachable, Refused
from backout.model.cutover import CutoverBudget, CutoverProof, Moved, Prepared, Warrant
from backout.model.restore import RestorePlan, WayBackState
from backout.model.target import TargetIdentity
from backout.phases.cutover import act, prove
from backout.phases.cutover.facts import Leftover
from backout.phases.cutover.ground import Ground, Logins, sessions
from backout.ports.handover import Drain, WayBack
from backout.ports.run import Run
from backout.ports.traffic import Address
from backout.ports.world import NewPlace, World
from backout.postgres import fence, names, sides, witness
from backout.postgres.connect import elsewhere, open_session, with_address, with_database
from backout.postgres.routing import make_writable
from backout.postgres.stage import copy_dsn
from backout.postgres.way_back import NoWayBack, SlotWayBack, retained


@contextmanager
def ground(run: Run, world: World, plan: RestorePlan, drain: Drain) -> Iterator[Ground]:
    """What the cutover of this plan stands on; logins are read anew."""
    place = _place(world)
    new = copy_dsn(world, plan.new.database, plan.new.instance)
    address = Address(place.host, place.port, plan.new.database)
    old = (world.databases.operate_dsn(), place.application())
    logins = _logins(plan, place, old, (new, _there(place)), second=world.databases.snapshot_dsn())
    with open_session(new, f"backout/{run.incident}/way-back") as session:
        way_back = SlotWayBack(session, None, None, hours=plan.way_back_hours)
        with _on(run, world, drain, way_back, logins, address) as made:
            yield made


@contextmanager
def ground_back(run: Run, world: World, plan: RestorePlan, drain: Drain, old: str) -> Iterator[Ground]:
    """The same with the sides exchanged: traffic leaves the restored instance. `old` enters the old side
    behind its fence."""
    place = _place(world)
    new = copy_dsn(world, plan.new.database, plan.new.instance)
    there = place.link(place.application())
    address = Address(there.host, there.port, plan.new.database)
    logins = _logins(plan, place, (new, _there(place)), (old, place.application()))
    with _on(run, world, drain, NoWayBack(), logins, address) as made:
        yield made


def _logins(
    plan: RestorePlan, place: NewPlace, left: tuple[str, str], taken: tuple[str, str], second: str = ""
) -> Logins:
    """Of the side that is left and of the one that traffic moves to: ours, and the application's."""
    return Logins(
        old=left[0],
        old_elsewhere=elsewhere(left[0], plan.new.database),
        old_application=left[1],
        new=taken[0],
        new_elsewhere=elsewhere(taken[0], plan.new.database),
        new_application=taken[1],
        canary=place.through(),
        old_second=second,
    )


@contextmanager
def _on(
    run: Run, world: World, drain: Drain, way_back: WayBack, logins: Logins, address: Address
) -> Iterator[Ground]:
    place = _place(world)
    traffic = place.traffic(address.database, logins.new_elsewhere)
    with closing(traffic):
        yield Ground(
            target=world.target,
            incident=run.incident,
            traffic=traffic,
            drain=drain,
            way_back=way_back,
            logins=logins,
            links={"old": place.link(logins.old_elsewhere), "new": place.link(logins.new_elsewhere)},
            new=address,
            budget=CutoverBudget(),
            now=world.now,
        )


def way_in(world: World, target: TargetIdentity) -> str:
    """A connection string that enters the old side behind its fence: a superuser's, of the roles that are
    configured. Raises `Refused` when there is none."""
    for login in (world.databases.operate_dsn, world.databases.snapshot_dsn):
        with suppress(NeighbourUnreachable):  # kept out already when it is looked at
            there = with_database(login(), target.database)
            if not target.host.startswith("local"):
                there = with_address(there, target.host, target.port)
            if fence.lets_in(there):
                return there
    raise Refused(
        "the fence keeps every configured role out of the old side: only a superuser gets in",
        where=str(target),
        intact="everything; traffic stays where it is, and the way back stays armed",
        next="let dsn.snapshot be a superuser there, then the same command again",
    )


def analyze(dsn: str, name: str) -> None:
    """Give the planner of a side that takes traffic what it lacks; nothing when it lacks nothing."""
    with open_session(dsn, name) as session:
        if sides.unanalyzed(session):
            make_writable(session)
            session.execute("ANALYZE")


def give_up_way_back(world: World, plan: RestorePlan, slot: str) -> None:
    """Remove the slot and publications of the way back from the new side. Idempotent."""
    with open_session(copy_dsn(world, plan.new.database, plan.new.instance), "backout/way-back/0") as session:
        SlotWayBack(session, None, None).drop(slot)


def way_back_state(world: World, plan: RestorePlan, done: Moved) -> WayBackState:
    """How the way back of a move stands now."""
    with open_session(copy_dsn(world, plan.new.database, plan.new.instance), "backout/way-back/0") as session:
        found = retained(session, done.way_back) if done.way_back else None
    health, size = found or ("gone", 0)
    expired = bool(done.way_back_until) and world.now() > datetime.fromisoformat(done.way_back_until)
    return WayBackState(found is not None, done.way_back_until, expired, done.way_back, size, health)


def _there(place: NewPlace) -> str:
    """The application's login on the new side: the same role and password at another address."""
    return with_address(place.application(), place.host, place.port)


def moved(run: Run) -> Moved | None:
    """Whether traffic was moved already."""
    return run.result(act.STEP, Moved)


def begun(run: Run) -> bool:
    """Whether a process may have left something held: it died in a hold, or could not undo it."""
    return run.result("cutover.warrant.1", Warrant) is not None


def clear(run: Run, world: World) -> None:
    """Traffic does not move: the slots of this and earlier rounds are removed. Idempotent."""
    with world.databases.operate(f"backout/{run.incident}/clear") as session:
        for number in range(1, run.round + 1):
            name = names.witness(run.incident, number)
            witness.drop(session, name, witness.publications_of(name))
            slot = names.states_slot(run.incident, number)
            witness.drop(session, slot, witness.publications_of(slot))


def settle(run: Run, ground: Ground) -> Leftover | None:
    """Settle what an earlier process left held; None when there was nothing."""
    prepared = run.result("cutover.prepare", Prepared)
    return act.settle_leftovers(run, ground, prepared) if prepared is not None else None


def cross(run: Run, ground: Ground, window: float, slot: str = "") -> tuple[Moved, CutoverProof]:
    """Made ready, entered, moved, proved. Raises `Refused` or `Stopped` when nothing was moved. `slot` is one
    of ours on the old side that has done its work then."""
    with sessions(ground) as opened:
        prepared = act.prepare(run, ground, opened)
        if moved(run) is None:
            act.enter(run, ground, opened, prepared)
        done = act.move(run, ground, opened, prepared)
        run.progress("traffic is on the new side; stale writers are looked for on the old one")
        proof = run.step(
            "cutover.proved",
            CutoverProof,
            lambda _: prove.prove(run, ground, opened, prepared, done, window=window),
        )
        prove.end(opened, prepared)
        if slot:
            witness.drop(opened.old, slot, witness.publications_of(slot))
        return done, proof


def _place(world: World) -> NewPlace:
    if world.place is None:
        raise Refused(
            f"target.{world.target}.traffic is no longer in backout.toml",
            where=world.target,
            intact="everything; nothing was moved",
            next="put it back, then: backout resume",
        )
    return world.place
