"""The cutover of one incident, whole: made ready, entered, moved, proved, on the ground of its plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from backout.errors import Refused
from backout.model.cutover import CutoverBudget, CutoverProof, Moved, Prepared
from backout.model.restore import RestorePlan
from backout.phases.cutover import act, prove
from backout.phases.cutover.facts import Leftover
from backout.phases.cutover.ground import Ground, Logins, sessions
from backout.ports.handover import Drain
from backout.ports.run import Run, Standing
from backout.ports.traffic import Address
from backout.ports.world import NewPlace, World
from backout.postgres.connect import open_session, with_address, with_database
from backout.postgres.stage import copy_dsn
from backout.postgres.way_back import SlotWayBack

_MAINTENANCE = ("postgres", "template1")


@contextmanager
def ground(run: Run, world: World, plan: RestorePlan, drain: Drain) -> Iterator[Ground]:
    """What the cutover of this plan stands on; logins are read anew."""
    place = _place(world)
    new = copy_dsn(world, plan.new.database, plan.new.instance)
    old = world.databases.operate_dsn()
    elsewhere = next(name for name in _MAINTENANCE if name != plan.new.database)
    logins = Logins(
        old=old,
        old_elsewhere=with_database(old, elsewhere),
        old_application=place.application(),
        new=new,
        new_elsewhere=with_database(new, elsewhere),
        new_application=_there(place),
        canary=place.through(),
    )
    traffic = place.traffic(plan.new.database, logins.new_elsewhere)
    with closing(traffic), open_session(new, f"backout/{run.incident}/way-back") as session:
        yield Ground(
            target=world.target,
            incident=run.incident,
            traffic=traffic,
            drain=drain,
            way_back=SlotWayBack(session, None, None, hours=plan.way_back_hours),
            logins=logins,
            links={"old": place.link(logins.old_elsewhere), "new": place.link(logins.new_elsewhere)},
            new=Address(place.host, place.port, plan.new.database),
            budget=CutoverBudget(),
            now=world.now,
        )


def _there(place: NewPlace) -> str:
    """The application's login on the new side: the same role and password at another address."""
    return with_address(place.application(), place.host, place.port)


def moved(run: Run) -> Moved | None:
    """Whether traffic was moved already."""
    return run.result(act.STEP, Moved)


def begun(run: Run) -> bool:
    """Whether a process died while it was moving traffic."""
    return run.standing(act.STEP) is not Standing.NEW


def settle(run: Run, ground: Ground) -> Leftover | None:
    """Settle what an earlier process left held; None when there was nothing."""
    prepared = run.result("cutover.prepare", Prepared)
    return act.settle_leftovers(run, ground, prepared) if prepared is not None else None


def cross(run: Run, ground: Ground, window: float) -> tuple[Moved, CutoverProof]:
    """Made ready, entered, moved, proved. Raises `Refused` or `Stopped` when nothing was moved."""
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
