"""Carry out the cleared plan through the real tool, keeping what it destroys inside its own transaction.

Invariant: either the down is not committed and nothing of ours is left, or it is committed and every
value it destroyed is in `backout_kept`. The order that gives it: lock first, copy under the lock in the
tool's own transaction, check before its COMMIT goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from backout.errors import BackoutError, HandedOver, LockNotGranted, Refused, Stopped
from backout.model.cutover import Moved
from backout.model.execution import Diagnostics, Execution, Outcome
from backout.model.gate import Clearance
from backout.model.plan import KeepWay, Proposal
from backout.phases.execution import completing, decide, diagnose, finish, hold, looks
from backout.phases.execution.facts import Sight
from backout.ports.migrator import Observation, Recovery, ToolEnvironment, ToolResult
from backout.ports.run import Attempt, Run, Standing
from backout.ports.world import World
from backout.postgres import activity, kept, pre_copies
from backout.postgres.catalog import portable_digest, read_schema
from backout.postgres.proxy.kept_tables import ensure_schema
from backout.postgres.proxy.policy import GatePlan, KeepPlan, Policy, PreCopy
from backout.postgres.through_proxy import ToolRun, drive

STEP = "execution.down"


def begun(run: Run) -> bool:
    """Whether a down was begun and its end is known, or is in doubt."""
    first = f"{finish.STEPS}.1"
    return run.standing(STEP) is not Standing.NEW or run.standing(first) is not Standing.NEW


def moved(run: Run, world: World, proposal: Proposal, move: Moved) -> Execution:
    """The record of a back-out without a down: the old schema is live because traffic was moved to it."""

    def act(_attempt: Attempt) -> Execution:
        seconds = round(move.hold_ms / 1000, 3)
        return Execution(
            *(proposal.strategy.value, Outcome.BACKED_OUT, proposal.tool, 0, 0, (), seconds, 0.0, seconds),
            *((), 0, 0, ()),
            committed_at=world.now().isoformat(timespec="milliseconds"),
            how=move.how,
        )

    return run.step(STEP, Execution, act)


def carry_out(run: Run, world: World, clearance: Clearance, allowed: Callable[[], Clearance]) -> Execution:
    """The down, once. A resumed step looks first and never repeats an effect; when nothing had happened,
    `allowed` asks the gate again before anything does."""
    if clearance.permit.proposal.finish is not None:
        return finish.carry_out(run, world, clearance, allowed, STEP, _down)
    return run.step(STEP, Execution, lambda attempt: _down(run, world, clearance, allowed, attempt))


def _down(
    run: Run, world: World, clearance: Clearance, allowed: Callable[[], Clearance], attempt: Attempt
) -> Execution:
    proposal = clearance.permit.proposal
    if attempt.number > 1:
        settled = _look_first(run, world, proposal, attempt)
        if settled is not None:
            return settled
        proposal = allowed().permit.proposal
    with world.databases.operate(attempt.name) as session:
        ensure_schema(session)
    begun = time.monotonic()
    ran = _keeping(run, world, proposal, attempt)
    sight = _see(world, proposal, attempt.name)
    _raise_if_untouched(world, proposal, ran, sight)
    outcome = decide.outcome(sight, proposal)
    values = looks.kept_values(world, proposal, attempt.name)
    return Execution(
        strategy=proposal.strategy.value,
        outcome=outcome,
        tool=proposal.tool,
        tool_exit=ran.result.exit_code,
        transactions=len(ran.commits),
        xids=tuple(commit.xid for commit in ran.commits),
        locked_seconds=round(max((c.lock_seconds for c in ran.commits), default=0.0), 3),
        waited_seconds=round(sum(c.waited_seconds for c in ran.commits), 2),
        seconds=round(time.monotonic() - begun, 2),
        kept=values.columns,
        values_destroyed=values.destroyed,
        values_kept=values.kept,
        statements=tuple(s.text for s in ran.writing(_history_table(world, attempt.name))),
        committed_at=world.now().isoformat(timespec="milliseconds"),
        how="executed",
        untouched=decide.untouched(proposal),
        diagnostics=None if outcome is Outcome.BACKED_OUT else diagnose.of(world, ran, attempt.name),
    )


def _history_table(world: World, name: str) -> str:
    with world.databases.observe(name) as session:
        return world.migrator.history(session).table


def _keeping(run: Run, world: World, proposal: Proposal, attempt: Attempt) -> ToolRun:
    """The tool, behind the pre-copies that were planned. Whatever of them the down did not use goes: the
    next attempt needs newer ones."""
    wanted = [keep for keep in proposal.keeps if keep.way is KeepWay.PRE_COPY]
    if not wanted:
        return _through_proxy(run, world, proposal, attempt, ())
    run.progress(f"copies before the down: {', '.join(keep.table for keep in wanted)}")
    try:
        with world.databases.operate(attempt.name) as session:
            before = pre_copies.take(session, run.incident, wanted, proposal.budgets)
        return _through_proxy(run, world, proposal, attempt, before)
    finally:
        with world.databases.operate(attempt.name) as session:
            pre_copies.drop(session, run.incident)


def _through_proxy(
    run: Run, world: World, proposal: Proposal, attempt: Attempt, before: tuple[PreCopy, ...]
) -> ToolRun:
    history = _history_table(world, attempt.name)
    policy = Policy(
        mark={"incident": run.incident, "round": run.round, "step": attempt.key, "kind": "down"},
        keep=KeepPlan(proposal.keeps, run.incident, rewrites=proposal.rewrites, pre_copies=before),
        gate=GatePlan(proposal.attributes_after, (history,)),
        budgets=proposal.budgets,
        on_writing=hold.line_awaited(world, proposal, run.incident),
        blockers=lambda pid: looks.blockers(world, pid, attempt.name),
        on_wait=lambda wait: looks.told(run, wait),
    )
    deadline = proposal.budgets.statement_timeout + proposal.budgets.lock_patience

    def unapply(environment: ToolEnvironment) -> ToolResult:
        return world.migrator.unapply(len(proposal.migrations), environment, deadline)

    return drive(world.migrator, unapply, world.databases.operate_dsn(), policy, attempt.name)


def _see(world: World, proposal: Proposal, name: str) -> Sight:
    with world.databases.observe(name) as session:
        history = world.migrator.history(session)
        schema = portable_digest(read_schema(session), frozenset({history.table}))
        sessions = activity.sessions_named(session, f"backout/{proposal.incident}/%")
    with world.databases.operate(name) as session:
        tables = len(kept.tables(session, proposal.incident))
    names = {row.name for row in history.rows}
    still = any(m.name in names for m in proposal.migrations)
    return Sight(still, schema, sessions, tables)


def _look_first(run: Run, world: World, proposal: Proposal, attempt: Attempt) -> Execution | None:
    """What an earlier attempt left behind: None = nothing happened, the attempt may go on."""
    looks.end_orphans(run, world, proposal)
    with world.databases.operate(attempt.name) as session:
        pre_copies.drop(session, run.incident)  # of an attempt that was killed
    sight = _see(world, proposal, attempt.name)
    match world.migrator.recover(_observation(sight, proposal)):
        case Recovery.REPEAT:
            return None
        case Recovery.DONE:
            run.progress("the down happened once and is not repeated")
            values = looks.kept_values(world, proposal, attempt.name)
            return decide.found_done(proposal, values, world.now().isoformat(timespec="milliseconds"))
        case Recovery.FINISH_HISTORY | Recovery.UNKNOWN as recovery:
            raise _by_hand(world, proposal, recovery)


def _observation(sight: Sight, proposal: Proposal) -> Observation:
    return Observation(
        history_has_it=sight.history_has_it,
        schema_is_before=sight.schema == proposal.schema_fingerprint,
        schema_is_after=sight.schema == proposal.expected_schema,
    )


def _by_hand(world: World, proposal: Proposal, recovery: Recovery) -> HandedOver:
    names = ", ".join(m.name for m in proposal.migrations)
    what = (
        f"the schema is down but the history still lists {names}"
        if recovery is Recovery.FINISH_HISTORY
        else f"history and schema fit neither before nor after the down of {names}"
    )
    return HandedOver(
        what,
        where=world.target,
        intact="kept values; nothing was repeated",
        next=f"backout show {proposal.incident}",
    )


def _raise_if_untouched(world: World, proposal: Proposal, ran: ToolRun, sight: Sight) -> None:
    """A down that did not commit leaves the step without effect: say why, and let it be tried again."""
    if decide.outcome(sight, proposal) is not Outcome.UNTOUCHED:
        return
    refusal = ran.refusal
    intact = "schema and data; the down rolled back, nothing of ours is left"
    again = f"backout resume {proposal.incident}"
    if refusal is not None and refusal.what == "lock_timeout":
        raise LockNotGranted(
            refusal.detail, where=world.target, intact=intact, next=f"end that session, then: {again}"
        )
    if refusal is not None and refusal.what == "disk":
        raise Refused(
            refusal.detail,
            where=world.target,
            intact=intact,
            next=f"raise budgets.disk in backout.toml, then: backout propose {proposal.incident}",
        )
    if refusal is not None and refusal.what in ("login", "tls"):
        raise Refused(
            f"the proxy did not let the tool in: {refusal.detail}",
            where=world.target,
            intact=intact,
            next=f"let it take its connection from the environment alone, then: {again}",
        )
    if refusal is not None:
        raise Refused(
            f"the commit gate refused the down ({refusal.what}): {refusal.detail}",
            where=world.target,
            intact=intact,
            next=f"backout propose {proposal.incident}",
        )
    if ran.first_error() is None and ran.result.exit_code == 0:
        raise Stopped(
            "the tool said done (exit 0), the history table says no",
            where=world.target,
            intact=intact,
            next=f"backout doctor --target {world.target}",
        )


def failure(incident: str, done: Execution, reproduced: str) -> BackoutError:
    """The error of a down that failed: evidence is recorded, the round is over.

    `reproduced` is what a fresh copy showed; empty = it did not fail there.
    """
    if done.strategy.startswith("F"):
        return completing.failure(incident, done)
    found = done.diagnostics or Diagnostics("", "", "the tool ended without saying why", "", ())
    state = f" ({found.sqlstate})" if found.sqlstate else ""
    copy = "a fresh copy fails too" if reproduced else "a fresh copy does not show it"
    in_doubt = done.outcome is Outcome.IN_DOUBT
    return (HandedOver if in_doubt else Refused)(
        f"the down failed: {found.message}{state}; {copy}",
        where=incident,
        intact="unknown; the sheet says how to finish by hand" if in_doubt else "schema and data",
        next=f"backout sheet {incident}" if in_doubt else f"backout propose {incident}",
    )
