"""The end of strategy F: nothing more to do, or the tool's own up; history and schema say how it went."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from backout.errors import BackoutError, LockNotGranted, Refused
from backout.model.execution import Diagnostics, Execution, Outcome
from backout.model.plan import Proposal, ToolVerb
from backout.phases.execution import diagnose, looks
from backout.phases.execution.facts import KeptValues, Sent
from backout.ports.migrator import ToolEnvironment, ToolResult
from backout.ports.run import Attempt, Run
from backout.ports.world import World
from backout.postgres.alone import LOCK_NOT_AVAILABLE
from backout.postgres.catalog import portable_digest, read_schema
from backout.postgres.names import qualified
from backout.postgres.proxy.policy import Policy
from backout.postgres.stand_ins import invalid_indexes
from backout.postgres.through_proxy import ToolRun, drive


@dataclass(frozen=True, slots=True)
class Sight:
    """The target as it is: does the history list the migration, and which schema is it."""

    listed: bool
    schema: str
    invalid: tuple[str, ...]

    def is_end(self, proposal: Proposal) -> bool:
        """Whether it is what was approved."""
        return self.listed == proposal.lists_after and self.schema == proposal.expected_schema


def end(
    run: Run,
    world: World,
    proposal: Proposal,
    sent: tuple[Sent, ...],
    attempt: Attempt,
    clean_again: Callable[[], None],
) -> Execution:
    """The tool's up where the plan has one, once. A resumed step looks first; what an up that died has left
    is cleaned by the same approved statements before the tool is started again. `sent` is the clean-up."""
    plan = proposal.finish
    assert plan is not None, "strategy F carries its statements"
    if attempt.number > 1:
        looks.end_orphans(run, world, proposal)
    sight = see(world, proposal, attempt.name)
    if attempt.in_doubt and not sight.is_end(proposal) and sight.schema != plan.schema_between:
        clean_again()
        sight = see(world, proposal, attempt.name)
    if plan.verb is ToolVerb.NONE or sight.is_end(proposal):
        return _done(world, proposal, sent, sight, None, 0.0, attempt.name)
    if sight.schema != plan.schema_between or sight.listed:
        raise Refused(
            f"the target is not as it was after the clean-up{_left(sight)}",
            where=world.target,
            intact="the clean-up is done and recorded; the tool was not started",
            next=f"backout propose {proposal.incident}",
        )
    begun = time.monotonic()
    ran = _up(run, world, proposal, attempt)
    sight = see(world, proposal, attempt.name)
    error = ran.first_error()
    if error is not None and error.sqlstate == LOCK_NOT_AVAILABLE and sight.schema == plan.schema_between:
        raise LockNotGranted(
            f"the tool did not get its lock: {error.error}",
            where=world.target,
            intact="the clean-up is done; of the migration nothing is in",
            next=f"backout resume {proposal.incident}",
        )
    return _done(world, proposal, sent, sight, ran, time.monotonic() - begun, attempt.name)


def see(world: World, proposal: Proposal, name: str) -> Sight:
    """History, schema and invalid indexes as they are now."""
    with world.databases.observe(name) as session:
        history = world.migrator.history(session)
        schema = read_schema(session)
    listed = {row.name for row in history.rows if not row.dirty}
    return Sight(
        any(m.name in listed for m in proposal.migrations),
        portable_digest(schema, frozenset({history.table})),
        tuple(qualified(t.schema, i.name) for t, i in invalid_indexes(schema)),
    )


def _up(run: Run, world: World, proposal: Proposal, attempt: Attempt) -> ToolRun:
    policy = Policy(
        mark={"incident": run.incident, "round": run.round, "step": attempt.key, "kind": "up"},
        budgets=proposal.budgets,
        blockers=lambda pid: looks.blockers(world, pid, attempt.name),
        on_wait=lambda wait: looks.told(run, wait),
    )
    deadline = proposal.budgets.statement_timeout + proposal.budgets.lock_patience

    def apply(environment: ToolEnvironment) -> ToolResult:
        return world.migrator.apply(1, environment, deadline)

    run.progress(f"the tool completes {proposal.migrations[-1].name}")
    return drive(world.migrator, apply, world.databases.operate_dsn(), policy, attempt.name)


def _done(
    world: World,
    proposal: Proposal,
    sent: tuple[Sent, ...],
    sight: Sight,
    ran: ToolRun | None,
    seconds: float,
    name: str,
) -> Execution:
    values = looks.kept_values(world, proposal, name) if proposal.keeps else KeptValues()
    good = sight.is_end(proposal)
    commits = ran.commits if ran is not None else ()
    return Execution(
        strategy=proposal.strategy.value,
        outcome=Outcome.BACKED_OUT if good else Outcome.IN_DOUBT,
        tool=proposal.tool,
        tool_exit=ran.result.exit_code if ran is not None else 0,
        transactions=len(commits),
        xids=tuple(commit.xid for commit in commits),
        locked_seconds=max((one.seconds for one in sent if one.felt), default=0.0),
        waited_seconds=round(sum(one.waited for one in sent), 2),
        seconds=round(sum(one.seconds for one in sent) + seconds, 2),
        kept=values.columns,
        values_destroyed=values.destroyed,
        values_kept=values.kept,
        statements=(
            *(one.statement for one in sent),
            *((s.text for s in ran.writing("")) if ran is not None else ()),
        ),
        committed_at=world.now().isoformat(timespec="milliseconds"),
        how="executed",
        untouched=proposal.untouched_tables,
        diagnostics=None if good else _diagnostics(world, sight, ran, name),
    )


def _diagnostics(world: World, sight: Sight, ran: ToolRun | None, name: str) -> Diagnostics:
    if ran is None:
        message = f"history and schema are not what was rehearsed{_left(sight)}"
        return Diagnostics("", "", message, "", ())
    found = diagnose.of(world, ran, name)
    return Diagnostics(
        found.tool_output, found.sqlstate, found.message + _left(sight), found.statement, found.sessions
    )


def _left(sight: Sight) -> str:
    return f"; left: INVALID index {', '.join(sight.invalid)}" if sight.invalid else ""


def failure(incident: str, done: Execution) -> BackoutError:
    """The error of a way out that did not arrive. The next round starts from what is there now."""
    found = done.diagnostics or Diagnostics("", "", "it ended without saying why", "", ())
    state = f" ({found.sqlstate})" if found.sqlstate else ""
    return Refused(
        f"{done.strategy} did not arrive: {found.message}{state}",
        where=incident,
        intact="rows; the statements that are done are in the journal",
        next=f"backout propose {incident}",
    )
