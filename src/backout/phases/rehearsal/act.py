"""Rehearse a plan with the real tool on clones of the proven copy, and measure what it does.

Two passes, each on a clone of its own: the first only records and measures the loss; the second keeps
what the first saw destroyed, through the same proxy and gate as production. So the way production will
be changed has been gone once before anybody approves it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from backout.model.gate import Clearance
from backout.model.loss import Loss
from backout.model.plan import Keep, KeepHow, KeepWay, LockSeen, Plan, Rehearsal, Strategy
from backout.model.snapshot import BeforeUp, Snapshot
from backout.model.triage import Triage
from backout.phases.rehearsal import decide, finish, ways
from backout.phases.rehearsal.facts import Keeping, Kept, Pass, Reproduced, SchemaAfter
from backout.ports.migrator import ToolEnvironment, ToolResult
from backout.ports.run import Attempt, Run
from backout.ports.world import World
from backout.postgres import activity, kept, losses, pre_copies
from backout.postgres.catalog import differences, portable, portable_digest, read_schema
from backout.postgres.connect import open_session
from backout.postgres.marks import require_marker
from backout.postgres.proxy.kept_tables import ensure_schema
from backout.postgres.proxy.policy import RECORD_ONLY, GatePlan, KeepPlan, Policy, PreCopy
from backout.postgres.stage import Stage, before_dsn, server_of
from backout.postgres.through_proxy import ToolRun, drive_on_copy

_TOOL_DEADLINE = 1800.0


def rehearse(
    run: Run, world: World, found: Triage, plan: Plan, copy: str, before_up: BeforeUp, again: str = ""
) -> Rehearsal:
    """The rehearsal of one plan, once a round. `copy` is the database of the proven copy, `before_up` tells
    where the state before the migration is (empty where there is none). `again` ends the key of
    a rehearsal on a wider copy."""

    def perform(attempt: Attempt) -> Rehearsal:
        stage = Stage(world, server_of(world, copy), copy, found.identity.role, attempt.name)
        if plan.strategy in (Strategy.F_CLEAN, Strategy.F_FINISH):
            run.progress(f"{plan.strategy.value} runs on a clone")
            return finish.rehearse(stage, found, plan, lambda at: _rehearse(run, at, found, plan, before_up))
        return _rehearse(run, stage, found, plan, before_up)

    return run.step(f"rehearsal.{plan.strategy.value}{again}", Rehearsal, perform)


def reached_outside(rehearsals: Sequence[Rehearsal], snapshot: Snapshot) -> bool:
    """Whether a down touched a table whose rows the proven snapshot left out: then the proof is void."""
    inside = set(snapshot.radius)
    return bool(inside) and any(set(rehearsed.touched) - inside for rehearsed in rehearsals)


def may_have_destroyed(found: Triage) -> bool:
    """Whether the up's statements can have taken anything away, as far as they can be read."""
    return bool(decide.taken_by_statements(found))


def of_the_down(rehearsals: Sequence[Rehearsal]) -> Rehearsal | None:
    """The rehearsal of strategy A, on which a repair can build."""
    return next((r for r in rehearsals if r.strategy is Strategy.A), None)


def _rehearse(run: Run, stage: Stage, found: Triage, plan: Plan, before_up: BeforeUp) -> Rehearsal:
    tool = (stage.world.migrator.version(), stage.world.migrator.environment_digest())
    history = frozenset({found.history.table})
    with stage.clone("a") as first:
        run.progress("the down runs on a clone, recorded")
        seen = _first_pass(stage, first, plan, found.history.table)
        if seen.failure:
            return decide.failed(*tool, plan, stage.copy, seen)
        run.progress("measuring what it destroyed")
        measured = _measure(stage, stage.copy, first, found, history)
        told = _each(stage, plan, found, history) if len(plan.migrations) > 1 else measured.losses
        by_up = _destroyed_by_up(stage, first, found, before_up, history)
        after = _schema_after(stage, first, plan, history)
    planned = _keep(run, stage, plan, measured, found.history.table)
    return decide.succeeded(
        *tool,
        plan,
        stage.copy,
        seen,
        (*told, *by_up),
        measured.losses,
        measured.rewritten,
        _on_target(stage, planned.keeps),
        measured.touched,
        measured.not_measured,
        after,
        planned.keeping,
        planned.forecast,
    )


def _tool(stage: Stage, database: str, plan: Plan, policy: Policy) -> ToolRun:
    """The down on a clone; refuses on anything that does not carry our marker."""

    def unapply(environment: ToolEnvironment) -> ToolResult:
        return stage.world.migrator.unapply(len(plan.migrations), environment, _TOOL_DEADLINE)

    with stage.session(database) as session:
        require_marker(session)
    return drive_on_copy(stage.world, unapply, stage.tool_dsn(database), policy, stage.name)


def _first_pass(stage: Stage, database: str, plan: Plan, history_table: str) -> Pass:
    begun = time.monotonic()
    ran = _tool(stage, database, plan, RECORD_ONLY)
    return Pass(
        statements=ran.writing(history_table),
        transactions=ran.transactions,
        failure=_failure(stage, database, plan, ran),
        seconds=round(time.monotonic() - begun, 2),
    )


def _failure(stage: Stage, database: str, plan: Plan, ran: ToolRun) -> str:
    """Why the down did not happen. The history of the clone decides, never the tool's exit code."""
    if not ran.sessions and ran.refusal is not None:
        return f"the proxy did not let the tool in: {ran.refusal.detail}"
    if not ran.sessions:
        words = ran.result.output.strip().splitlines()
        return f"the tool never came to the proxy: {words[-1][:200] if words else 'it said nothing'}"
    with stage.session(database) as session:
        names = {row.name for row in stage.world.migrator.history(session).rows}
    still = [name for name in plan.migrations if name in names]
    if not still:
        return ""
    if ran.refusal is not None:
        return ran.refusal.detail
    error = ran.first_error()
    if error is not None:
        return f"{error.error} ({error.sqlstate}) in: {error.statement.summary or error.statement.text[:120]}"
    exit_code = ran.result.exit_code
    return f"the tool ended with {exit_code} and the history still lists {', '.join(still)}"


def _each(stage: Stage, plan: Plan, found: Triage, history: frozenset[str]) -> tuple[Loss, ...]:
    """The loss of every migration's own down: those that stand above the offending one are collateral,
    and people have to see what each of them costs."""
    told: list[Loss] = []
    before = stage.copy
    with ExitStack() as clones:
        for number, name in enumerate(plan.migrations, start=1):
            after = clones.enter_context(stage.clone(f"m{number}"))
            _tool(stage, after, replace(plan, migrations=plan.migrations[:number]), RECORD_ONLY)
            step = _measure(stage, before, after, found, history)
            told += [replace(loss, migration=name) for loss in step.losses]
            before = after
    return tuple(told)


def _measure(
    stage: Stage, earlier: str, database: str, found: Triage, history: frozenset[str]
) -> losses.Measured:
    marks = losses.SinceMarks(
        found.committed.xid,
        decide.created_by_up(found),
        decide.filled_by_up(found),
        rows_since=_rows_since(stage, found),
    )
    with stage.session(earlier) as before, stage.session(database) as after:
        return losses.measure(before, after, ignore=history, marks=marks)


def _rows_since(stage: Stage, found: Triage) -> dict[str, int]:
    """On production: rows of the touched tables that were written after the migration, at most."""
    xid = found.committed.xid
    if xid is None:
        return {}
    with stage.world.databases.observe(stage.name) as production:
        counted = {t.table: activity.changed_since(production, t.table, xid).count for t in found.touched}
    return {table: count for table, count in counted.items() if count is not None}


def _destroyed_by_up(
    stage: Stage, database: str, found: Triage, before_up: BeforeUp, history: frozenset[str]
) -> tuple[Loss, ...]:
    if not before_up.database:
        with stage.session(stage.copy) as now:
            return decide.unknown_losses_of_up(found, read_schema(now))
    with (
        open_session(before_dsn(stage.world, before_up), stage.name) as before,
        stage.session(stage.copy) as now,
        stage.session(database) as after,
    ):
        written = decide.written_by_up(found, read_schema(before))
        return losses.measure_up(before, now, after, ignore=history, written_by_up=written)


def _schema_after(stage: Stage, database: str, plan: Plan, history: frozenset[str]) -> SchemaAfter:
    """The schema the down ends with, and the way down -> up against the schema of now."""
    with stage.session(stage.copy) as session:
        now, files = read_schema(session), activity.file_nodes(session)
    with stage.session(database) as session:
        after, files_after = portable_digest(read_schema(session), history), activity.file_nodes(session)

    def apply(environment: ToolEnvironment) -> ToolResult:
        return stage.world.migrator.apply(len(plan.migrations), environment, _TOOL_DEADLINE)

    drive_on_copy(stage.world, apply, stage.tool_dsn(database), RECORD_ONLY, stage.name)
    with stage.session(database) as session:
        again = read_schema(session)
    same = [name for name, node in files.items() if files_after.get(name) == node]
    rewritten = sorted(name for name in files if name in files_after and name not in same)
    return SchemaAfter(
        after,
        differences(portable(now), portable(again), history),
        "round trip",
        portable_digest(now, history),
        tuple(rewritten),
        len(same),
    )


def _on_target(stage: Stage, keeps: tuple[Keep, ...]) -> tuple[Keep, ...]:
    with stage.world.databases.observe(stage.name) as production:
        oids = {table.qualified: table.oid for table in read_schema(production).tables}
    return decide.on_target(keeps, oids)


def _keep(run: Run, stage: Stage, plan: Plan, measured: losses.Measured, history: str) -> Kept:
    """The second pass. When its locks would be held too long it is gone again, on one more clone, with what
    can be copied before the down: what people approve has been rehearsed as it will run."""
    keeps, budgets = measured.keeps, stage.world.budgets
    with stage.clone("b") as second:
        run.progress("again on a second clone, with everything kept")
        plain = _second_pass(stage, second, plan, measured, keeps, history, run.incident)
    with stage.session(stage.copy) as session:
        why_not = {k.table: pre_copies.why_not(session, k) for k in keeps if k.how is KeepHow.COLUMNS}
    tried = ways.to_pre_copy(keeps, plain, why_not, budgets) if not plain.failure else frozenset()
    other = None
    if tried:
        run.progress(f"{plain.locked_seconds:.1f} s under the locks: once more, with a pre-copy")
        with stage.clone("p") as third:
            so = ways.kept_so(keeps, tried)
            other = _second_pass(stage, third, plan, measured, so, history, run.incident)
    told = ways.forecast(keeps, plain, other, why_not, tried, budgets)
    if other is not None and ways.better(plain, other, budgets):
        return Kept(ways.kept_so(keeps, tried), other, told)
    return Kept(keeps, plain, told)


def _second_pass(
    stage: Stage,
    database: str,
    plan: Plan,
    measured: losses.Measured,
    keeps: tuple[Keep, ...],
    history: str,
    incident: str,
) -> Keeping:
    with stage.session(database) as session:
        ensure_schema(session, stage.role)
        lsn = activity.current_lsn(session)
    policy = Policy(
        mark={"incident": incident, "kind": "rehearsal"},
        keep=KeepPlan(
            *(keeps, incident),
            rewrites=measured.rewritten,
            pre_copies=_pre_copies(stage, database, keeps, incident),
        ),
        gate=GatePlan(bookkeeping=(history,)),
        budgets=decide.without_limits(stage.world.budgets),
        watch=tuple(dict.fromkeys((*(keep.table for keep in keeps), *measured.touched))),
    )
    begun = time.monotonic()
    ran = _tool(stage, database, plan, policy)
    seconds = round(time.monotonic() - begun, 2)
    failure = _failure(stage, database, plan, ran)
    with stage.session(database) as session:
        values = sum(table.values for table in kept.tables(session, incident))
        size = kept.size(session, incident)
        wal = activity.wal_since(session, lsn)
    return Keeping(
        failure=failure,
        kept_values=values,
        attributes=tuple(dict.fromkeys(pair for c in ran.commits for pair in c.attributes)),
        locks=_locks(stage, ran, history),
        locked_seconds=round(max((c.lock_seconds for c in ran.commits), default=0.0), 3),
        seconds=seconds,
        wal_bytes=wal,
        kept_bytes=size,
        copied=max(ran.commits, key=lambda c: c.lock_seconds).copied if ran.commits else (),
    )


def _pre_copies(stage: Stage, database: str, keeps: Sequence[Keep], incident: str) -> tuple[PreCopy, ...]:
    wanted = [keep for keep in keeps if keep.way is KeepWay.PRE_COPY]
    if not wanted:
        return ()
    with open_session(stage.tool_dsn(database), stage.name) as session:
        return pre_copies.take(session, incident, wanted, decide.without_limits(stage.world.budgets))


def _locks(stage: Stage, ran: ToolRun, history: str) -> tuple[LockSeen, ...]:
    """What the tool's sessions held, by the names before the down. What the down itself made is nobody
    else's yet, and the history is the tool's own."""
    with stage.session(stage.copy) as session:
        names = activity.relation_names(session)
    held = [(names.get(lock.oid, history), lock) for commit in ran.commits for lock in commit.locks]
    return decide.locks((name, lock.mode, lock.seconds) for name, lock in held if name != history)


def reproduce(run: Run, world: World, clearance: Clearance, copy: str) -> str:
    """Run a failed down again on a fresh clone; the failure it shows there, empty when it shows none."""
    proposal = clearance.permit.proposal
    plan = Plan(proposal.strategy, tuple(m.name for m in reversed(proposal.migrations)), 0)
    if proposal.finish is not None:
        return ""  # its failure names what is left; the next round rehearses from there

    def again(attempt: Attempt) -> Reproduced:
        stage = Stage(world, server_of(world, copy), copy, "", attempt.name)
        with stage.clone("r") as database:
            return Reproduced(_first_pass(stage, database, plan, "").failure)

    return run.step("rehearsal.reproduce", Reproduced, again).failure
