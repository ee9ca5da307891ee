"""Carry out strategy F: statements of ours, each alone and each a step of its own, then perhaps the tool.

Invariant: before a statement is sent the catalog is asked whether its effect is there already, and whether
anybody is still at work on it. So a process that died goes on exactly where it was, an index that became
valid meanwhile is never dropped, and nothing is built twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from backout.errors import LockNotGranted, Refused, Stopped
from backout.model.execution import Execution
from backout.model.gate import Clearance
from backout.model.plan import Finish, Proposal, ToolVerb
from backout.phases.execution import completing, looks
from backout.phases.execution.facts import Sent
from backout.ports.migrator import ToolEnvironment, ToolResult
from backout.ports.run import Attempt, Run
from backout.ports.world import World
from backout.postgres.alone import LOCK_NOT_AVAILABLE, Alone, run_alone, run_through
from backout.postgres.builds import builds, holders
from backout.postgres.catalog import Schema, read_schema
from backout.postgres.names import qualified
from backout.postgres.presence import find_index, find_table, happened, tellable
from backout.postgres.proxy.kept_tables import ensure_schema
from backout.postgres.proxy.policy import GatePlan, KeepPlan, Policy
from backout.postgres.remedies import drop_index
from backout.postgres.through_proxy import drive
from backout.sql.effects import effects
from backout.sql.facts import EffectKind
from backout.sql.names import split_qualified

STEPS = "execution.clean"
# CONCURRENTLY waits without stopping anybody, so it may wait longer at a time than a lock that others feel.
_QUIET_TIMEOUT = 2.0
_PAUSE = 1.0

Down = Callable[[Run, World, Clearance, Callable[[], Clearance], Attempt], Execution]


def carry_out(
    run: Run, world: World, clearance: Clearance, allowed: Callable[[], Clearance], step: str, down: Down
) -> Execution:
    """The statements in order, then what is left to the tool; `step` is the key of the end, `down` carries
    out strategy A's down where the history lists the migration still."""
    proposal = clearance.permit.proposal
    plan = _plan(proposal)
    sent = tuple(
        _step(run, world, proposal, number, statement, allowed if number == 1 else lambda: clearance)
        for number, statement in enumerate(plan.steps, 1)
    )
    if plan.verb is ToolVerb.DOWN:
        between = replace(proposal, schema_fingerprint=plan.schema_between)
        cleared = replace(clearance, permit=replace(clearance.permit, proposal=between))
        return run.step(step, Execution, lambda attempt: down(run, world, cleared, lambda: cleared, attempt))

    def clean_again(attempt: Attempt) -> None:
        for statement in plan.steps:
            _send(run, world, proposal, statement, attempt, lambda: clearance)

    return run.step(
        step,
        Execution,
        lambda attempt: completing.end(run, world, proposal, sent, attempt, lambda: clean_again(attempt)),
    )


def _step(
    run: Run, world: World, proposal: Proposal, number: int, statement: str, ask: Callable[[], Clearance]
) -> Sent:
    return run.step(
        f"{STEPS}.{number}", Sent, lambda attempt: _send(run, world, proposal, statement, attempt, ask)
    )


def _plan(proposal: Proposal) -> Finish:
    assert proposal.finish is not None, "strategy F carries its statements"
    return proposal.finish


def _send(
    run: Run,
    world: World,
    proposal: Proposal,
    statement: str,
    attempt: Attempt,
    ask: Callable[[], Clearance],
) -> Sent:
    """One statement, unless its effect is there. `ask` asks the gate again when nothing had happened."""
    if attempt.in_doubt:
        looks.end_orphans(run, world, proposal)
    _wait_for_builds(run, world, proposal, statement, attempt.name)
    schema = _schema(world, attempt.name)
    if _is_done(statement, schema):
        run.progress(f"done already: {statement}")
        return Sent(statement, "found done", 0.0, 0.0, felt=False)
    _refuse_if_valid_now(world, proposal, statement, schema)
    if attempt.in_doubt:
        ask()
    begun = time.monotonic()
    run.progress(statement)
    for leftover in _leftovers(statement, schema):
        _patiently(run, world, proposal, leftover, attempt.name)
    one = _patiently(run, world, proposal, statement, attempt.name)
    waited = time.monotonic() - begun - one.seconds
    felt = not any(effect.concurrently for effect in effects(statement))
    return Sent(statement, "executed", round(one.seconds, 3), round(waited, 3), felt)


def _schema(world: World, name: str) -> Schema:
    with world.databases.observe(name) as session:
        return read_schema(session)


def _is_done(statement: str, schema: Schema) -> bool:
    """Whether every effect of it that a catalog shows is there, and no index of it is invalid."""
    told = tellable(effects(statement), schema)
    return (
        bool(told) and all(happened(effect, schema) for effect in told) and not _leftovers(statement, schema)
    )


def _leftovers(statement: str, schema: Schema) -> tuple[str, ...]:
    """What has to go before an index can be built: the invalid one of an attempt that died."""
    made = [e for e in effects(statement) if e.kind is EffectKind.CREATE_INDEX]
    found = [find_index(effect, schema) for effect in made]
    return tuple(drop_index(*there) for there in found if there is not None and not there[1].valid)


def _refuse_if_valid_now(world: World, proposal: Proposal, statement: str, schema: Schema) -> None:
    for effect in effects(statement):
        there = find_index(effect, schema) if effect.kind is EffectKind.DROP_INDEX else None
        if there is None or not there[1].valid:
            continue
        name = qualified(there[0].schema, there[1].name)
        if name in _plan(proposal).invalid:
            raise Refused(
                f"{name} is valid now: a build that nobody waited for has ended well; it was not dropped",
                where=world.target,
                intact="everything from this statement on",
                next=f"backout propose {proposal.incident}",
            )


def _wait_for_builds(run: Run, world: World, proposal: Proposal, statement: str, name: str) -> None:
    """Wait while a session of somebody else is at work on the same object; it is never ended."""
    made = [e.other or e.column or e.table for e in effects(statement) if e.table]
    words = tuple(split_qualified(word)[-1] for word in made if word)
    begun = time.monotonic()
    while words:
        with world.databases.operate(name) as session:
            busy = builds(session, words)
        if not busy:
            return
        if time.monotonic() - begun > proposal.budgets.lock_patience:
            raise Stopped(
                f"pid {busy[0].pid} ({busy[0].who}) is still at work: {busy[0].query[:120]}",
                where=world.target,
                intact="everything from this statement on",
                next=f"wait until it has ended, then: backout resume {proposal.incident}",
            )
        run.progress(f"waits for pid {busy[0].pid} ({busy[0].who}), {busy[0].phase or busy[0].query[:60]}")
        time.sleep(_PAUSE)


def _patiently(run: Run, world: World, proposal: Proposal, statement: str, name: str) -> Alone:
    """Send it until it gets its lock or patience ends. Raises `LockNotGranted`, or `Refused` with the
    server's words when it fails otherwise."""
    begun = time.monotonic()
    attempt = 0
    while True:
        attempt += 1
        one = _once(run, world, proposal, statement, name)
        if one.done:
            return one
        if one.sqlstate != LOCK_NOT_AVAILABLE:
            raise Refused(
                f"{one.error} ({one.sqlstate}) in: {statement}",
                where=world.target,
                intact="the statements before it are done and recorded; nothing after it was sent",
                next=f"backout propose {proposal.incident}",
            )
        who = _who_holds(world, statement, name)
        waited = time.monotonic() - begun
        if waited > proposal.budgets.lock_patience or proposal.budgets.tried_enough(attempt):
            raise LockNotGranted(
                f"no lock in {attempt} tries, {waited:.0f} s, for: {statement}; held by {who}",
                where=world.target,
                intact="the statements before it are done and recorded; this one had no effect",
                next=f"end that session, then: backout resume {proposal.incident}",
            )
        run.progress(f"waits for {who}, try {attempt}, {waited:.0f} s: {statement[:80]}")
        time.sleep(_PAUSE)


def _who_holds(world: World, statement: str, name: str) -> str:
    with world.databases.operate(name) as session:
        schema = read_schema(session)
        table = ""
        for effect in effects(statement):
            index = find_index(effect, schema)
            found = index[0] if index is not None else find_table(effect.table, schema)
            table = found.qualified if found is not None else table
        return ", ".join(holders(session, table)) or "a session that is gone by now"


def _once(run: Run, world: World, proposal: Proposal, statement: str, name: str) -> Alone:
    found = effects(statement)
    if proposal.keeps and any(e.kind in (EffectKind.DROP_COLUMN, EffectKind.DROP_TABLE) for e in found):
        return _keeping(run, world, proposal, statement, name)
    quiet = any(effect.concurrently for effect in found)
    with world.databases.operate(name) as session:
        return run_alone(
            session,
            statement,
            lock_timeout=_QUIET_TIMEOUT if quiet else proposal.budgets.lock_timeout,
            # A build may take hours; it stops nobody while it does.
            statement_timeout=0.0 if quiet else proposal.budgets.statement_timeout,
        )


def _keeping(run: Run, world: World, proposal: Proposal, statement: str, name: str) -> Alone:
    """Through the proxy: what the statement destroys is in `backout_kept` when it commits."""
    with world.databases.operate(name) as session:
        ensure_schema(session)
        history = world.migrator.history(session).table
    policy = Policy(
        mark={"incident": run.incident, "round": run.round, "step": STEPS, "kind": "clean up"},
        keep=KeepPlan(proposal.keeps, run.incident, rewrites=proposal.rewrites),
        gate=GatePlan(bookkeeping=(history,)),
        budgets=proposal.budgets,
        blockers=lambda pid: looks.blockers(world, pid, name),
        on_wait=lambda wait: looks.told(run, wait),
    )
    ended: list[Alone] = []

    def send(environment: ToolEnvironment) -> ToolResult:
        assert environment.endpoint is not None, "made by redirect()"
        limits = {
            "lock_timeout": proposal.budgets.lock_timeout,
            "statement_timeout": proposal.budgets.statement_timeout,
        }
        ended.append(run_through(environment.endpoint, name, statement, **limits))
        return ToolResult(0 if ended[-1].done else 1, ended[-1].error, ended[-1].seconds)

    ran = drive(world.migrator, send, world.databases.operate_dsn(), policy, name)
    if ran.refusal is not None and ended[-1].done:
        return Alone(ended[-1].seconds, ran.refusal.sqlstate, ran.refusal.detail)
    return ended[-1]
