"""Gradual traffic shift: instances that only read try the restored side before any write moves.

One primary takes writes, so all of them move at once. What can be gradual comes before: readers with a login
that cannot write, while every write still goes to the old side and is carried over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from backout.errors import Stopped
from backout.model.check import Check, CheckState
from backout.model.restore import CanaryReads, RestorePlan
from backout.ports.run import Run, Standing
from backout.ports.world import NewPlace, Session, World
from backout.postgres import readers
from backout.postgres.connect import open_session, with_address, with_login
from backout.postgres.physical.isolation import write_private
from backout.postgres.routing import make_writable
from backout.postgres.stage import copy_dsn

STEP = "cutover.canary_reads"
SIGNAL = "canary"
_LOOK_SECONDS = 2.0
_TELL_SECONDS = 30.0


class Follower(Protocol):
    """What carries the writes over meanwhile."""

    def behind(self) -> int: ...

    def require_alive(self) -> None: ...


def watch(
    run: Run, world: World, plan: RestorePlan, follower: Follower, ask: Callable[[], tuple[Check, ...]]
) -> CanaryReads | None:
    """Let readers in for the time of the plan, or of a person's later word; None when that is no time.

    `ask` runs the validation plan on the new side. Raises `Stopped` when a check fails there, the writes are
    no longer carried over, or somebody asks to stop; traffic is where it was, and the readers are dismissed.
    """
    seconds = wanted(run, plan)
    if seconds <= 0:
        if run.standing(STEP) is Standing.IN_DOUBT:  # a process that was killed has let them in
            _dismiss(run, world, plan)
        return None
    return run.step(STEP, CanaryReads, lambda _: _watch(run, world, plan, follower, ask, seconds))


def seen(run: Run) -> CanaryReads | None:
    """What readers have tried in this round; None when none were let in."""
    return run.result(STEP, CanaryReads)


def wanted(run: Run, plan: RestorePlan) -> float:
    """The newest word of a person in this round, else the plan's."""
    said = run.signals(SIGNAL)
    return float(said[-1].body["seconds"]) if said else plan.canary_seconds


def _watch(
    run: Run,
    world: World,
    plan: RestorePlan,
    follower: Follower,
    ask: Callable[[], tuple[Check, ...]],
    seconds: float,
) -> CanaryReads:
    with _admitted(run, world, plan) as session:
        begun = told = time.monotonic()
        most, lag = 0, 0
        while (passed := time.monotonic() - begun) < seconds:
            follower.require_alive()
            most, lag = max(most, readers.count(session)), max(lag, follower.behind())
            if run.stopping:
                raise _stopped(run, "asked to stop while readers tried the restored side")
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                run.progress(f"canary reads: {most} readers at most, {seconds - passed:.0f} s left")
            time.sleep(min(_LOOK_SECONDS, seconds - passed))
        checks = ask()
    _require_good(run, checks)
    return CanaryReads(round(time.monotonic() - begun, 1), most, lag, checks)


@contextmanager
def _admitted(run: Run, world: World, plan: RestorePlan) -> Iterator[Session]:
    place = world.place
    assert place is not None, "the ground of the cutover stands on it"
    file = _file(run, world)
    with _door(run, world, plan) as session:
        try:
            dsn = _let_in(session, place, plan)
            write_private(file, f"{dsn}\n")
            readers.require_in(dsn, plan.address)
            run.progress(f"readers may try {plan.address}; their connection string is in {file}")
            yield session
        finally:
            file.unlink(missing_ok=True)
            readers.dismiss(session)


def _dismiss(run: Run, world: World, plan: RestorePlan) -> None:
    _file(run, world).unlink(missing_ok=True)
    with _door(run, world, plan) as session:
        readers.dismiss(session)


@contextmanager
def _door(run: Run, world: World, plan: RestorePlan) -> Iterator[Session]:
    """Our own way into the new side, past its read-only default."""
    new = copy_dsn(world, plan.new.database, plan.new.instance)
    with open_session(new, f"backout/{run.incident}/canary") as session:
        make_writable(session)
        yield session


def _file(run: Run, world: World) -> Path:
    return world.instances / f"{run.incident}.canary"


def _let_in(session: Session, place: NewPlace, plan: RestorePlan) -> str:
    application = place.application()
    password = readers.admit(session, place.link(application).user)
    there = with_address(application, place.host, place.port)
    return with_login(there, readers.ROLE, password, plan.new.database)


def _require_good(run: Run, checks: tuple[Check, ...]) -> None:
    failed = [check for check in checks if check.state is CheckState.FAIL]
    if failed:
        raise _stopped(run, f"on the restored side {failed[0].name} fails: {failed[0].detail}")


def _stopped(run: Run, what: str) -> Stopped:
    return Stopped(
        what,
        where=run.incident,
        intact="everything; traffic stays where it is, and the readers are dismissed",
        next=f"backout resume {run.incident}",
    )
