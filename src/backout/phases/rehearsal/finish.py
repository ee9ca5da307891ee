"""Rehearse the ways out of a half-applied migration: clean it up, or clean up and let the tool complete it.

The clone is first brought into production's present state (a dump carries no invalid index). Statements of
ours run one by one as the tool's role; what they destroy is measured, and kept in a second pass. What a
listed migration still needs of its down is left to the rehearsal of the down itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from backout.model.plan import Finish, Plan, Rehearsal, ToolVerb
from backout.model.statement import Statement
from backout.model.triage import Triage
from backout.phases.rehearsal import decide
from backout.phases.rehearsal.facts import Pass
from backout.phases.rehearsal.remedy import WayOut, blocking_step, choose, destroys, names_in
from backout.ports.migrator import MarksDirty, ToolEnvironment, ToolResult
from backout.postgres import activity, kept, losses
from backout.postgres.alone import Alone, run_alone, run_through
from backout.postgres.builds import builds
from backout.postgres.catalog import Schema, differences, portable, portable_digest, read_schema
from backout.postgres.connect import open_session
from backout.postgres.duplicates import duplicates
from backout.postgres.names import qualified
from backout.postgres.proxy.kept_tables import ensure_schema
from backout.postgres.proxy.policy import RECORD_ONLY, GatePlan, KeepPlan, Policy
from backout.postgres.stage import Stage
from backout.postgres.stand_ins import invalid_indexes, stand_in
from backout.postgres.through_proxy import ToolRun, drive_on_copy
from backout.sql.parse import statements

_TOOL_DEADLINE = 1800.0


@dataclass(frozen=True, slots=True)
class Ground:
    """Production as it is now, and the way out of it."""

    schema: Schema
    history: frozenset[str]
    way: WayOut
    applied: int

    @property
    def invalid(self) -> tuple[str, ...]:
        return tuple(qualified(t.schema, i.name) for t, i in invalid_indexes(self.schema))


@dataclass(frozen=True, slots=True)
class Walked:
    """The statements of ours, as they ran on one clone."""

    ran: tuple[Alone, ...]
    failure: str
    between: str
    """Digest of the schema after them."""

    @property
    def seconds(self) -> float:
        return sum(one.seconds for one in self.ran)


@dataclass(frozen=True, slots=True)
class Completed:
    """What the tool did after them."""

    statements: tuple[Statement, ...]
    failure: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Prepared(Stage):
    """A stage on whose clones the statements of ours have run already."""

    ground: Ground

    @contextmanager
    def clone(self, suffix: str) -> Iterator[str]:
        with Stage.clone(self, suffix) as database:
            _walk(self, database, self.ground)
            yield database


def rehearse(stage: Stage, found: Triage, plan: Plan, down: Callable[[Stage], Rehearsal]) -> Rehearsal:
    """One way out on clones. `down` rehearses strategy A's down on the stage that it is given."""
    ground = _ground(stage, found, plan)
    if ground.way.refused:
        return _failed(stage, plan, ground, ground.way.refused)
    with stage.clone("f") as database:
        missing = _as_production(stage, database, ground)
        if missing:
            return _failed(stage, plan, ground, f"the copy is not as production is now: {missing}")
        walked = _walk(stage, database, ground)
        if walked.failure:
            return _failed(stage, plan, ground, walked.failure)
        if ground.way.verb is not ToolVerb.DOWN:
            return _measured(stage, database, found, plan, ground, walked)
    told = down(Prepared(stage.world, stage.scratch, stage.copy, stage.role, stage.name, ground))
    ours = tuple(s for step in ground.way.steps for s in statements(step))
    return replace(
        told,
        statements=(*ours, *told.statements),
        seconds=round(told.seconds + walked.seconds, 3),
        schema_now=portable_digest(ground.schema, ground.history),
        finish=_finish(ground, walked.between),
    )


def _ground(stage: Stage, found: Triage, plan: Plan) -> Ground:
    world = stage.world
    with world.databases.observe(stage.name) as production:
        history = world.migrator.history(production)
        schema = read_schema(production)
        busy = builds(production, names_in(found.up)) if found.up else ()
        below = [row.name for row in history.rows if row.name not in plan.migrations]
        dirty = isinstance(world.migrator, MarksDirty) and history.head is not None and history.head.dirty
        settle = (
            world.migrator.settle(production, below[-1] if below else None)
            if dirty and isinstance(world.migrator, MarksDirty)
            else ""
        )
    way = choose(replace(found, history=history), plan.strategy, schema, settle, busy)
    return Ground(schema, frozenset({history.table}), way, len(history.rows))


def _as_production(stage: Stage, database: str, ground: Ground) -> str:
    """Give the clone the invalid indexes of now; what still differs, in words."""
    dsn = stage.dsn(database)
    stand_in(ground.schema, dsn, stage.name)
    with stage.session(database) as session:
        for table, index in invalid_indexes(read_schema(session)):
            name = qualified(table.schema, index.name)
            if name not in ground.invalid:
                run_alone(session, f"DROP INDEX {name}", lock_timeout=5.0, statement_timeout=60.0)
        found = differences(portable(ground.schema), portable(read_schema(session)), ground.history)
    return "; ".join(f"{d.object} {d.change}" for d in found[:3])


def _walk(stage: Stage, database: str, ground: Ground) -> Walked:
    ran: list[Alone] = []
    failure = ""
    with open_session(stage.tool_dsn(database), stage.name) as session:
        for step in ground.way.steps:
            one = run_alone(session, step, lock_timeout=5.0, statement_timeout=_TOOL_DEADLINE)
            ran.append(one)
            if not one.done:
                failure = _words(stage, database, one.error, one.sqlstate, step)
                break
    return Walked(tuple(ran), failure, _digest(stage, database, ground))


def _digest(stage: Stage, database: str, ground: Ground) -> str:
    with stage.session(database) as session:
        return portable_digest(read_schema(session), ground.history)


def _words(stage: Stage, database: str, error: str, sqlstate: str, statement: str) -> str:
    """Why it failed; for duplicates how many keys of which columns, never their values."""
    told = f"{error} ({sqlstate}) in: {statement[:160]}"
    if sqlstate != "23505":
        return told
    with stage.session(database) as session:
        more = duplicates(session)
    return f"{told}; {more}" if more else told


def _measured(
    stage: Stage, database: str, found: Triage, plan: Plan, ground: Ground, walked: Walked
) -> Rehearsal:
    """After the statements of ours, on the same clone: what they destroyed, and what the tool does next."""
    with stage.session(stage.copy) as before, stage.session(database) as after:
        measured = losses.measure(before, after, ignore=ground.history)
        untouched = len(activity.file_nodes(after)) - len(measured.touched)
    done = _complete(stage, database, plan, found.history.table) if ground.way.verb is ToolVerb.UP else None
    if done is not None and done.failure:
        return _failed(stage, plan, ground, f"completing it fails: {done.failure}")
    with stage.session(database) as session:
        at_the_end = portable_digest(read_schema(session), ground.history)
    oids = {table.qualified: table.oid for table in ground.schema.tables}
    values, size = _kept(stage, ground, measured, found.history.table) if measured.keeps else (0, 0)
    return replace(
        _record(stage, plan, ground, walked, done),
        losses=tuple(replace(loss, kept=True) for loss in measured.losses),
        keeps=decide.on_target(measured.keeps, oids),
        kept_values=values,
        kept_bytes=size,
        kept_equals_destroyed=decide.equal(values, measured.losses, measured.keeps),
        touched=measured.touched,
        schema_after=at_the_end,
        not_measured=(*ground.way.untold, *decide.NEVER_MEASURED),
        untouched_tables=max(0, untouched),
        rewrites=measured.rewritten,
    )


def _complete(stage: Stage, database: str, plan: Plan, history_table: str) -> Completed:
    """The tool's up on the clone. The history decides whether it happened."""

    def apply(environment: ToolEnvironment) -> ToolResult:
        return stage.world.migrator.apply(1, environment, _TOOL_DEADLINE)

    begun = time.monotonic()
    ran = drive_on_copy(stage.world, apply, stage.tool_dsn(database), RECORD_ONLY, stage.name)
    return Completed(
        ran.writing(history_table), _not_applied(stage, database, plan, ran), time.monotonic() - begun
    )


def _not_applied(stage: Stage, database: str, plan: Plan, ran: ToolRun) -> str:
    with stage.session(database) as session:
        rows = stage.world.migrator.history(session).rows
    if any(row.name in plan.migrations and not row.dirty for row in rows):
        return ""
    error = ran.first_error()
    if error is not None:
        return _words(stage, database, error.error, error.sqlstate, error.statement.text)
    last = (ran.result.output.strip().splitlines() or ["it said nothing"])[-1]
    return f"the tool ended with {ran.result.exit_code} and the history does not list it: {last[:160]}"


def _kept(stage: Stage, ground: Ground, measured: losses.Measured, history_table: str) -> tuple[int, int]:
    """The second pass, on a clone of its own: values in the kept tables afterwards, and their bytes."""
    incident = "rehearsal"
    policy = Policy(
        mark={"incident": incident, "kind": "rehearsal"},
        keep=KeepPlan(measured.keeps, incident, rewrites=measured.rewritten),
        gate=GatePlan(bookkeeping=(history_table,)),
        budgets=decide.without_limits(stage.world.budgets),
    )
    with stage.clone("g") as database:
        _as_production(stage, database, ground)
        with stage.session(database) as session:
            ensure_schema(session, stage.role)
        for step in ground.way.steps:
            if destroys(step):
                _keeping(stage, database, policy, step)
            else:
                with open_session(stage.tool_dsn(database), stage.name) as session:
                    run_alone(session, step, lock_timeout=5.0, statement_timeout=_TOOL_DEADLINE)
        with stage.session(database) as session:
            values = sum(table.values for table in kept.tables(session, incident))
            return values, kept.size(session, incident)


def _keeping(stage: Stage, database: str, policy: Policy, step: str) -> None:
    def send(environment: ToolEnvironment) -> ToolResult:
        assert environment.endpoint is not None, "made by redirect()"
        one = run_through(
            environment.endpoint, stage.name, step, lock_timeout=5.0, statement_timeout=_TOOL_DEADLINE
        )
        return ToolResult(0 if one.done else 1, one.error, one.seconds)

    drive_on_copy(stage.world, send, stage.tool_dsn(database), policy, stage.name)


def _finish(ground: Ground, between: str) -> Finish:
    way = ground.way
    return Finish(way.steps, way.verb, ground.applied, way.listed, way.lists_after, ground.invalid, between)


def _failed(stage: Stage, plan: Plan, ground: Ground, failure: str) -> Rehearsal:
    tool = (stage.world.migrator.version(), stage.world.migrator.environment_digest())
    ours = tuple(s for step in ground.way.steps for s in statements(step))
    told = decide.failed(*tool, plan, stage.copy, Pass(ours, 0, failure, 0.0))
    return replace(told, schema_now=portable_digest(ground.schema, ground.history))


def _record(stage: Stage, plan: Plan, ground: Ground, walked: Walked, done: Completed | None) -> Rehearsal:
    """What both ways out have in common; `locked_seconds` counts what others feel."""
    tool = (stage.world.migrator.version(), stage.world.migrator.environment_digest())
    ours = tuple(s for step in ground.way.steps for s in statements(step))
    theirs = done.statements if done is not None else ()
    seconds = walked.seconds + (done.seconds if done is not None else 0.0)
    told = decide.failed(
        *tool, plan, stage.copy, Pass((*ours, *theirs), len(walked.ran), "", round(seconds, 3))
    )
    felt = [
        one.seconds for step, one in zip(ground.way.steps, walked.ran, strict=True) if blocking_step(step)
    ]
    return replace(
        told,
        succeeded=True,
        locked_seconds=round(max(felt, default=0.0), 3),
        schema_now=portable_digest(ground.schema, ground.history),
        finish=_finish(ground, walked.between),
    )
