"""Strategy B without a guard: what was written since the migration is found by comparing states, once; a slot
made at that very moment carries what comes later."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from backout.errors import Refused
from backout.model.changes import lsn_text
from backout.model.fates import Fates
from backout.model.restore import Carried, LogSource, NewSide, RestorePlan
from backout.model.snapshot import BeforeUp
from backout.phases.lost_writes import from_states
from backout.phases.lost_writes.carry import begin, tables_of, way
from backout.phases.lost_writes.following import applying
from backout.ports.run import Run
from backout.ports.world import World
from backout.postgres import witness
from backout.postgres.activity import flushed_lsn
from backout.postgres.catalog import read_schema
from backout.postgres.connect import open_session
from backout.postgres.decoding import slot as slots
from backout.postgres.decoding.stream import Source
from backout.postgres.losses.down import steady
from backout.postgres.repair.effect import Copies
from backout.postgres.stage import copy_dsn
from backout.postgres.writes import memory
from backout.postgres.writes.apply import Applier

_SLOT_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Merged:
    """The states were merged onto the new side, up to the position from which the slot carries on."""

    slot: str
    publications: tuple[str, ...]
    armed: str
    upto: str
    fates: Fates
    """Of rows."""
    seconds: float


class _Nothing:
    """Stands where a log is read otherwise."""

    def __init__(self, source: Source) -> None:
        """Nothing is read."""

    def tend(self) -> None:
        """Nobody waits."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""


def rehearse(run: Run, world: World, log: LogSource, before: BeforeUp, new: NewSide) -> Carried:
    """The merge on the restored instance, rolled back at the end: what would be carried, and how long it
    takes. Production is only read."""

    def act(name: str) -> Carried:
        begun = time.monotonic()
        route, translate = way(world, log, new, (before.before, before.after), run.incident, name)
        begin(route, new)
        run.progress("the live database is compared with the state just after the migration")
        with _compared(world, before, name) as copies, applying(route, translate, _Nothing) as (_, on):
            at = flushed_lsn(copies.migrated)
            _fill(on, copies, before, world, at, name)
            fates = on.try_out(lambda session: memory.fates(session, route.run))
        took = round(time.monotonic() - begun, 2)
        found = tables_of(world, before.before, before.after, new.database, name)
        return Carried(fates, 0, lsn_text(at), took, (), found)

    return run.step("lost_writes.carried", Carried, lambda attempt: act(attempt.name))


def merge(run: Run, world: World, plan: RestorePlan) -> RestorePlan:
    """The merge for good, in one transaction of the new side; the plan with the log that carries on. One
    that was cut left nothing, and begins anew with another slot."""
    merged = run.step("lost_writes.states", Merged, lambda attempt: _merge(run, world, plan, attempt.name))
    log = replace(plan.log, publications=merged.publications, armed=merged.armed)
    return replace(plan, log=log)


def _merge(run: Run, world: World, plan: RestorePlan, name: str) -> Merged:
    begun = time.monotonic()
    slot, states = plan.log.slot, BeforeUp("", plan.new.database, "", before=plan.before, after=plan.migrated)
    with world.databases.operate(name) as owner:
        witness.drop(owner, slot, witness.publications_of(slot))
        publications, _ = witness.publish(owner, slot)
        armed = slots.arming_snapshot(owner)
    route, translate = way(world, plan.log, plan.new, (plan.before, plan.migrated), run.incident, name)
    run.progress("the writes since the migration are merged onto the restored instance")
    with (
        slots.exported(world.databases.snapshot_dsn(), slot, name, _SLOT_PATIENCE) as (lsn, snapshot),
        _compared(world, states, name, snapshot) as copies,
        applying(route, translate, _Nothing) as (_, on),
    ):
        _fill(on, copies, states, world, lsn, name)
        on.commit()
    with open_session(route.writes, name) as session:
        fates = memory.fates(session, route.run)
    took = round(time.monotonic() - begun, 2)
    return Merged(slot, publications, armed, lsn_text(lsn), fates, took)


@contextmanager
def _compared(world: World, states: BeforeUp, name: str, snapshot: str = "") -> Iterator[Copies]:
    """The state just after the migration, and the live one in one snapshot."""
    with ExitStack() as stack:
        migrated = stack.enter_context(open_session(copy_dsn(world, states.database, states.after), name))
        live = stack.enter_context(world.databases.observe(name))
        stack.enter_context(live.transaction())
        live.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        if snapshot:
            slots.adopt_snapshot(live, snapshot)
        stack.enter_context(steady(live))
        stack.enter_context(steady(migrated))
        yield Copies(migrated, live, read_schema(migrated), read_schema(live))


def _fill(on: Applier, copies: Copies, states: BeforeUp, world: World, lsn: int, name: str) -> None:
    """Everything that was written since, into the applier's window. Raises `Refused` for altered tables."""
    changed = from_states.altered(copies.before_schema, copies.migrated_schema)
    ours = frozenset({world.migrator.history(copies.before).table})
    if set(changed) - ours:
        raise Refused(
            f"tables were altered since the migration: {', '.join(changed[:3])}",
            where=world.target,
            intact="everything; nothing was merged",
            next="backout propose",
        )
    with open_session(copy_dsn(world, states.database, states.before), name) as session:
        before = read_schema(session)
    compared = from_states.compared_tables(before, copies.before_schema, ours)
    on.add(from_states.transaction(copies, compared, lsn))


def uncompared(world: World, states: BeforeUp, name: str) -> tuple[str, ...]:
    """Tables whose rows have no identity: what was written to them since stays on the old side."""
    with open_session(copy_dsn(world, states.database, states.after), name) as session:
        ours = frozenset({world.migrator.history(session).table})
        return from_states.without_identity(read_schema(session), ours)
