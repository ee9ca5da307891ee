"""Strategy D: after the down, bring back what the up destroyed, row by row, while the application runs.

Two states tell what the migration did: just before it, and just after it with the down run on top, as the
live database would be if nobody had written since. They come from a base backup and the WAL, exactly; or
from an older snapshot, on a clone of which the migration is repeated and undone through the real tool.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from backout.errors import BackoutError, Refused
from backout.model.check import Check
from backout.model.execution import Execution
from backout.model.plan import Proposal, Rehearsal, Strategy
from backout.model.repair import RepairDone, Repaired, RepairPlan, RepairTable, Source
from backout.model.snapshot import BeforeUp
from backout.model.triage import Triage
from backout.phases.lost_writes import decide
from backout.phases.lost_writes.facts import Horizon
from backout.phases.lost_writes.in_place import Repair, figures, list_newer, repair_table, wrong_rows
from backout.phases.lost_writes.parking import retry
from backout.ports.migrator import ToolEnvironment, ToolResult
from backout.ports.run import Attempt, Run
from backout.ports.world import Session, World
from backout.postgres import copies, done, parked
from backout.postgres.catalog import read_schema
from backout.postgres.connect import open_session
from backout.postgres.losses.down import steady
from backout.postgres.marks import require_marker
from backout.postgres.proxy.kept_tables import ensure_schema
from backout.postgres.proxy.policy import RECORD_ONLY
from backout.postgres.repair import attempts, rights, sequences
from backout.postgres.repair.effect import Copies
from backout.postgres.repair.live import Marks
from backout.postgres.roles import acting_dsn
from backout.postgres.stage import Stage, copy_dsn, server_of
from backout.postgres.through_proxy import drive_on_copy

COPY_LEASE = timedelta(hours=24)
_TOOL_DEADLINE = 1800.0


def rehearse(
    run: Run, world: World, found: Triage, down: Rehearsal | None, before: BeforeUp, again: str = ""
) -> Rehearsal | None:
    """The down and a repair after it, on a clone of the proven copy; None when there is nothing to bring
    back, or nothing to bring it back from."""
    if down is None or not before.database or not decide.worth_a_repair(down):
        return None
    source = run.step(
        "lost_writes.source", Source, lambda attempt: _source(run, world, found, before, attempt.name)
    )

    def perform(attempt: Attempt) -> Rehearsal:
        if source.failure:
            return decide.not_repairable(down, source.failure)
        stage = Stage(world, server_of(world, down.copy), down.copy, found.identity.role, attempt.name)
        return _rehearse(run, stage, found, down, source)

    return run.step(f"rehearsal.{Strategy.D.value}{again}", Rehearsal, perform)


def _source(run: Run, world: World, found: Triage, before: BeforeUp, name: str) -> Source:
    """The two states, each in a database that stays."""
    make = _from_twin if before.after else _from_snapshot
    try:
        return make(run, world, found, before, name)
    except BackoutError as error:
        told = f"the state just after the migration cannot be had from {before.snapshot}: {error.what}"
        return Source(before.snapshot, before.taken_at, "", "", False, None, told)


def _from_twin(run: Run, world: World, found: Triage, before: BeforeUp, name: str) -> Source:
    """The instance just after the migration's commit; the down brings it to the schema of the live one."""
    run.progress("the down runs on the restored state just after the migration")
    undone = _apart(world, before, name)
    dsn = copy_dsn(world, undone, before.after)
    there = [name for name in found.offending if name in _applied(world, dsn, name)]
    if there:  # a process that died had not come to it yet
        with open_session(dsn, name) as session:
            acting = acting_dsn(session, dsn, found.identity.role)
        _drive(world, dsn, acting, "unapply", len(there), name)
    _history_must(world, dsn, found, name, present=False)
    inside = before.commits_inside
    return Source(
        *(before.snapshot, before.taken_at, before.database, undone, inside == 0, inside),
        before_instance=before.before,
        migrated_instance=before.after,
    )


def _apart(world: World, before: BeforeUp, name: str) -> str:
    """The database in which the down may run. Where a restore can be offered too, its replay reads the state
    just after the migration as it is: so there it is a clone, in which rows lie at the same place."""
    if world.place is None or world.guarded is None:
        return before.database
    undone = f"backout_{before.database}"[:60] + "_u"
    dsn = copy_dsn(world, "postgres", before.after)
    with open_session(copy_dsn(world, before.database, before.after), name) as session:
        of = require_marker(session)
    copies.destroy_on_ours(dsn, undone)
    copies.clone(dsn, before.database, undone, replace(of, copy_id=undone), application_name=name)
    return undone


def _from_snapshot(run: Run, world: World, found: Triage, before: BeforeUp, name: str) -> Source:
    """An older snapshot, on which the migration is repeated and undone."""
    run.progress("the migration is repeated on the snapshot from before it")
    # An adopted backup came without its owners: there the tool acts as the owner of the copy.
    role = found.identity.role if before.transactions else ""
    stage = Stage(world, server_of(world, before.database), before.database, role, name)
    stale = decide.gap(before.transactions, found.committed.xid)
    with world.databases.observe(name) as production:
        exact = stale == 0 and rights.ran_alone(production, found.committed.xid)
    ready = _up_to_the_migration(stage, found)
    migrated = replace(stage, copy=ready).make("m", COPY_LEASE)
    count = len(found.offending)
    _tool_on(stage, migrated, "apply", count)
    _history_must(world, stage.dsn(migrated), found, name, present=True)
    _tool_on(stage, migrated, "unapply", count)
    _history_must(world, stage.dsn(migrated), found, name, present=False)
    return Source(before.snapshot, before.taken_at, ready, migrated, exact, stale)


def _applied(world: World, dsn: str, name: str) -> frozenset[str]:
    with open_session(dsn, name) as session:
        return frozenset(row.name for row in world.migrator.history(session).rows)


def _up_to_the_migration(stage: Stage, found: Triage) -> str:
    """The snapshot, brought to the migration just before the offending one where it is older than that."""
    offending = frozenset(found.offending)
    wanted = [row.name for row in found.history.rows if row.name not in offending]
    with stage.session(stage.copy) as session:
        there = {row.name for row in stage.world.migrator.history(session).rows}
    missing = [name for name in wanted if name not in there]
    if not missing:
        return stage.copy
    ready = stage.make("r", COPY_LEASE)
    _tool_on(stage, ready, "apply", len(missing))
    return ready


def _tool_on(stage: Stage, database: str, verb: str, count: int) -> None:
    _drive(stage.world, stage.dsn(database), stage.tool_dsn(database), verb, count, stage.name)


def _drive(world: World, dsn: str, acting: str, verb: str, count: int, name: str) -> None:
    """The tool's verb on a copy; refuses on anything that does not carry our marker."""
    with open_session(dsn, name) as session:
        require_marker(session)

    def work(environment: ToolEnvironment) -> ToolResult:
        command = world.migrator.apply if verb == "apply" else world.migrator.unapply
        return command(count, environment, _TOOL_DEADLINE)

    drive_on_copy(world, work, acting, RECORD_ONLY, name)


def _history_must(world: World, dsn: str, found: Triage, name: str, *, present: bool) -> None:
    names = _applied(world, dsn, name)
    wrong = [migration for migration in found.offending if (migration in names) is not present]
    if wrong:
        what = "was not applied" if present else "was not undone"
        raise Refused(
            f"{wrong[0]} {what} there",
            where=world.target,
            intact="production",
            next="backout doctor",
        )


def _rehearse(run: Run, stage: Stage, found: Triage, down: Rehearsal, source: Source) -> Rehearsal:
    world, history = stage.world, frozenset({found.history.table})
    with world.databases.operate(stage.name) as production:
        quiet = rights.may_quiet_triggers(production)
    with stage.clone("d") as database:
        with stage.session(database) as session:
            undone = read_schema(session)
        run.progress("the down, then the repair, on a clone")
        _tool_on(stage, database, "unapply", len(found.offending))
        with stage.session(database) as session:
            horizon = rights.horizon(session)  # after the down: nobody else writes to this clone
        with _copies(world, source, stage.name) as copies, stage.session(database) as session:
            reach = decide.repairable(copies.before_schema, undone, read_schema(session), history)
            # Rows of a copy were all written by its restore: who wrote them on the target is not known there.
            repair = _repair(run, world, session, source, Marks(horizon), quiet, rest=0.0)
            begun = time.monotonic()
            told = _all(repair, copies, reach.tables)
            plan = RepairPlan(
                source=source,
                tables=tuple(t for t in reach.tables if decide.reached(told[t.table])),
                forecast=tuple(r for r in told.values() if decide.reached(r)),
                quiet_triggers=quiet,
                triggers=() if quiet else rights.triggers_of(session, list(reach.tables)),
                seconds=round(time.monotonic() - begun, 2),
            )
            wrong = sum(wrong_rows(repair, copies, table) for table in plan.tables)
    return decide.repaired(down, plan, reach, wrong)


@contextmanager
def _copies(world: World, source: Source, name: str) -> Iterator[Copies]:
    with (
        open_session(copy_dsn(world, source.before, source.before_instance), name) as before,
        open_session(copy_dsn(world, source.migrated, source.migrated_instance), name) as migrated,
        steady(before),
        steady(migrated),
    ):
        yield Copies(before, migrated, read_schema(before), read_schema(migrated))


def _repair(
    run: Run,
    world: World,
    session: Session,
    source: Source,
    marks: Marks,
    quiet: bool,
    *,
    rest: float,
) -> Repair:
    """Ready to write: our tables are there, triggers find the path that they know."""
    ensure_schema(session)
    done.ensure(session)
    parked.ensure(session)
    attempts.with_search_path_of_role(session)
    return Repair(
        *(session, run.incident, marks, source.label, quiet, world.budgets),
        rest=rest,
        on_progress=lambda table, rows: run.progress(f"repair: {table}, {rows:,} rows"),
    )


def _all(repair: Repair, copies: Copies, tables: tuple[RepairTable, ...]) -> dict[str, Repaired]:
    for table in tables:
        sequences.lift(copies.before, repair.session, table)
    for table in tables:
        repair_table(repair, copies, table)
    for table in tables:
        retry(repair, table)
        if repair.label:
            list_newer(repair, copies, table)
    return {table.table: figures(repair, table) for table in tables}


def ready(world: World, proposal: Proposal) -> None:
    """Before anything happens: the copies that the repair reads are still there. Raises `UnknownName`."""
    if proposal.repair is not None:
        source = proposal.repair.source
        copy_dsn(world, source.before, source.before_instance)
        copy_dsn(world, source.migrated, source.migrated_instance)


def before_the_down(run: Run, world: World, found: Triage, proposal: Proposal) -> None:
    """Note which transactions are over before the down begins: what they wrote is older than it."""
    if proposal.repair is None:
        return

    def note(attempt: Attempt) -> Horizon:
        with world.databases.observe(attempt.name) as session:
            return Horizon(rights.horizon(session), found.committed.xid or "")

    run.step("lost_writes.horizon", Horizon, note)


def repair(run: Run, world: World, proposal: Proposal, down: Execution) -> RepairDone | None:
    """After the down: write back what the up destroyed. Resumed, it goes on after the last whole batch."""
    plan = proposal.repair
    if plan is None:
        return None
    downs = tuple(str(int(xid) % 2**32) for xid in down.xids)
    return run.step(
        "lost_writes.repair", RepairDone, lambda attempt: _carry_out(run, world, plan, downs, attempt)
    )


def _carry_out(
    run: Run, world: World, plan: RepairPlan, downs: tuple[str, ...], attempt: Attempt
) -> RepairDone:
    begun = time.monotonic()
    noted = run.result("lost_writes.horizon", Horizon)
    with (
        _copies(world, plan.source, attempt.name) as copies,
        world.databases.operate(attempt.name) as session,
    ):
        marks = Marks(noted.xid, noted.migration, downs) if noted else Marks(downs=downs)
        ready = replace(
            _repair(run, world, session, plan.source, marks, plan.quiet_triggers, rest=1.0),
            physical=plan.source.physical,
        )
        told = _all(ready, copies, plan.tables)
        return RepairDone(
            tables=tuple(told.values()),
            wrong=sum(wrong_rows(ready, copies, table) for table in plan.tables),
            orphans=tuple(
                dict.fromkeys(line for table in plan.tables for line in rights.orphans(session, table))
            )
            if plan.quiet_triggers
            else (),
            seconds=round(time.monotonic() - begun, 2),
            label=plan.source.label,
        )


def checks(repaired: RepairDone | None) -> tuple[Check, ...]:
    """What verification says of the repair."""
    return () if repaired is None else decide.checks(repaired)
