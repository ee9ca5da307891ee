"""Strategy B: carry the writes since the migration from the guard's log onto the restored instance."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from backout.errors import Stopped
from backout.model.changes import lsn_of, lsn_text
from backout.model.guard import Guard
from backout.model.repair import RepairTable
from backout.model.restore import Carried, LogSource, NewSide, RestorePlan
from backout.model.snapshot import BeforeUp
from backout.phases.lost_writes import log_map
from backout.phases.lost_writes.following import Following, Route, Translate, applying, following_log, spill
from backout.phases.lost_writes.from_log import FromLog, States
from backout.phases.lost_writes.log_map import log_tables
from backout.ports.run import Run
from backout.ports.world import Session, World
from backout.postgres.activity import flushed_lsn
from backout.postgres.catalog import read_schema
from backout.postgres.connect import open_session
from backout.postgres.decoding.recognise import Signs
from backout.postgres.decoding.slot import require_readable
from backout.postgres.decoding.stream import Peek
from backout.postgres.decoding.transactions import End
from backout.postgres.repair import rights
from backout.postgres.routing import make_writable
from backout.postgres.stage import copy_dsn
from backout.postgres.writes import memory, tables
from backout.postgres.writes.follow import follow

_CLOSE_ENOUGH = 64 * 1024
"""Bytes of log that are carried well within the drain of the cutover."""
_TELL_SECONDS = 2.0
OUTRUN_SECONDS = 120.0
"""How long the distance may stay the same before a person is asked."""


def rehearse(run: Run, world: World, log: LogSource, before: BeforeUp, new: NewSide) -> Carried:
    """Everything up to now onto the new side; the slot is only looked into, so nothing is used up.

    What is carried stays: after the approval it goes on from there.
    """

    def act(name: str) -> Carried:
        route, translate = way(world, log, new, (before.before, before.after), run.incident, name)
        begin(route, new)
        begun = time.monotonic()
        with spill() as directory, applying(route.within(directory), translate, Peek) as (stream, applier):
            run.progress("the writes since the migration are carried onto the restored instance")
            with world.databases.observe(name) as session:
                now = flushed_lsn(session)
            follow(stream, applier, End(lsn=now), directory)
        return _carried(route, tables_of(world, before.before, before.after, new.database, name), begun)

    return run.step("lost_writes.carried", Carried, lambda attempt: act(attempt.name))


def begin(route: Route, new: NewSide) -> None:
    """Our tables on the new side, and the position from which its writes have to come."""
    with open_session(route.writes, route.name) as session:
        make_writable(session)  # one that serves already leads the application away by its default
        tables.make_tables(session)
        memory.make_tables(session)
        tables.begin_run(session, route.run, lsn_of(new.starts_at))


@contextmanager
def carrying(run: Run, world: World, plan: RestorePlan) -> Iterator[Following]:
    """The writes go over continuously while the block runs; each is confirmed once it is durable."""
    name = f"backout/{run.incident}/follow"
    route, translate = way(world, plan.log, plan.new, (plan.before, plan.migrated), run.incident, name)
    with spill() as directory, following_log(route.within(directory), translate) as following:
        yield following


@contextmanager
def idle(run: Run, world: World, plan: RestorePlan) -> Iterator[Following]:
    """The same, not begun: when everything has been carried, or something is only settled."""
    name = f"backout/{run.incident}/idle"
    yield following_log(*way(world, plan.log, plan.new, (plan.before, plan.migrated), run.incident, name))


def readable(run: Run, world: World, plan: RestorePlan) -> None:
    """Before anything happens: the slot still has every write since what was carried. Raises `Refused` or
    `UnknownName` when it has not."""
    if not plan.log.guard:
        return  # its slot is made when it is needed
    name = f"backout/{run.incident}/readable"
    with open_session(copy_dsn(world, plan.new.database, plan.new.instance), name) as session:
        progress = tables.read_progress(session, run.incident)
    assert progress is not None, "the run was begun by the rehearsal"
    with open_session(world.databases.snapshot_dsn(), name) as session:
        log = plan.log
        require_readable(session, log.slot, log.publications, progress.lsn, log.armed or None)


def catch_up(run: Run, following: Following) -> None:
    """Wait until the new side is close behind. Raises `Stopped` with what ended the replay, with the figures
    of one that the application outruns, and for Ctrl-C."""
    told, pace = 0.0, None
    while following.begun and (behind := following.behind()) > _CLOSE_ENOUGH:
        following.require_alive()
        now = time.monotonic()
        pace = pace or Pace(now, behind)
        if run.stopping or pace.outrun(now, behind):
            raise _not_caught_up(run, pace.told(now, behind))
        if now - told > _TELL_SECONDS:
            run.progress(f"catching up: {pace.told(now, behind)}")
            told = now
        time.sleep(0.05)
    following.near()


@dataclass
class Pace:
    """Whether the distance gets smaller: bytes of log to go, on a monotonic clock."""

    since: float
    then: int
    """What was to go at `since`."""

    def outrun(self, now: float, behind: int) -> bool:
        """Whether a whole period brought nothing; else the next one begins when this is over."""
        if now - self.since < OUTRUN_SECONDS:
            return False
        if behind >= self.then:
            return True
        self.since, self.then = now, behind
        return False

    def told(self, now: float, behind: int) -> str:
        """How far it is, and how fast that changes."""
        seconds = now - self.since
        if seconds < _TELL_SECONDS:
            return f"{behind:,} bytes of log to go"
        change = (behind - self.then) / seconds
        word = "more" if change > 0 else "less"
        return f"{behind:,} bytes of log to go, {abs(change):,.0f} a second {word} than {seconds:.0f} s ago"


def _not_caught_up(run: Run, told: str) -> Stopped:
    why = (
        "asked to stop" if run.stopping else "the application writes faster than its writes are carried over"
    )
    return Stopped(
        f"{why}: {told}",
        where=run.incident,
        intact="everything; no write was held, and what was carried stays carried",
        next=f"backout resume {run.incident}",
    )


def final(run: Run, world: World, plan: RestorePlan) -> Carried:
    """What became of all writes, once traffic has moved."""
    name = f"backout/{run.incident}/final"
    route, _ = way(world, plan.log, plan.new, (plan.before, plan.migrated), run.incident, name)
    found = tables_of(world, plan.before, plan.migrated, plan.new.database, name)
    return run.step("lost_writes.final", Carried, lambda _: _carried(route, found, time.monotonic()))


def way(
    world: World, log: LogSource, new: NewSide, states: tuple[str, str], incident: str, name: str
) -> tuple[Route, Translate]:
    """From the log of the live database onto the new side; `states` names the instances just before the
    migration and just after it."""
    route = Route(
        reads=world.databases.snapshot_dsn(),
        slot=log.slot,
        publications=log.publications,
        armed=log.armed or None,
        writes=copy_dsn(world, new.database, new.instance),
        run=incident,
        incident=incident,
        directory=Path(),
        name=name,
    )
    signs = Signs(incidents=frozenset({log.guard}), xids=frozenset(int(xid) for xid in log.xids))

    def translate(session: Session, stack: ExitStack) -> FromLog:
        dsns = (copy_dsn(world, new.database, one) for one in states)
        two = States(*(stack.enter_context(open_session(dsn, name)) for dsn in dsns))
        mapped = log_tables(read_schema(two.before), read_schema(two.migrated))
        return FromLog(incident, incident, mapped, two, signs, memory.load(session, incident))

    return route, translate


def unseen(world: World, guard: Guard, before: BeforeUp, name: str) -> tuple[str, ...]:
    """Tables of the migrated state whose writes the guard's log does not hold: it names its tables when it is
    armed, and those that the migration made came later."""
    with open_session(copy_dsn(world, before.database, before.after), name) as session:
        seen = frozenset(table.oid for table in guard.coverage)
        ours = frozenset({world.migrator.history(session).table})
        found = log_map.unseen(read_schema(session), seen, ours)
    return tuple(table.removeprefix("public.") for table in found)


def tables_of(world: World, before: str, migrated: str, database: str, name: str) -> tuple[RepairTable, ...]:
    """The tables of the old schema that changes can be carried into."""
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(open_session(copy_dsn(world, database, instance), name))
            for instance in (before, migrated)
        )
        return tuple(table.target for table in log_tables(read_schema(one), read_schema(two)).values())


def _carried(route: Route, touched: tuple[RepairTable, ...], begun: float) -> Carried:
    with open_session(route.writes, route.name) as session:
        progress = tables.read_progress(session, route.run)
        assert progress is not None, "the run was begun by the rehearsal"
        broken = dict.fromkeys(line for table in touched for line in rights.orphans(session, table))
        return Carried(
            memory.fates(session, route.run),
            progress.transactions,
            lsn_text(progress.lsn),
            round(time.monotonic() - begun, 2),
            tuple(broken),
            touched,
        )
