"""Restore from backup, handle lost writes, shift traffic: strategy B, from its rehearsal to its proof."""

from __future__ import annotations

from backout.errors import BackoutError
from backout.model.check import Check
from backout.model.execution import Execution
from backout.model.gate import Clearance, Proposals
from backout.model.plan import Proposal, Rehearsal
from backout.model.restore import LogSource, NewSide, NoRestore, RestoreDone, RestorePlan
from backout.model.snapshot import BeforeUp
from backout.model.triage import Triage
from backout.phases.cutover import canary_reads, move
from backout.phases.execution import act as execution
from backout.phases.lost_writes import carry, merge_states
from backout.phases.restore import act as restore
from backout.phases.restore import decide
from backout.phases.verification import on_copy
from backout.ports.run import Run
from backout.ports.world import World
from backout.runbooks import guard as guards


def rehearse(
    run: Run, world: World, found: Triage, down: Rehearsal | None, before: BeforeUp, copy: str
) -> tuple[Rehearsal | None, str]:
    """The restore with every write since carried onto it, production untouched; or why there is none.

    Settled once a round: the guard and the log as a later command finds them change no proposal, and once
    traffic has moved the fence keeps us away from them.
    """
    made, none = run.result(restore.REHEARSAL, Rehearsal), run.result(restore.NONE, NoRestore)
    if made is None and none is None:
        try:
            made, why = _rehearse(run, world, found, down, before, copy), ""
        except NotOffered as reason:
            made, why = None, str(reason)
        none = restore.none(run, why) if why else None
    return made, none.why if none else ""


class NotOffered(Exception):
    """Why there is no restore; never seen outside."""


def _rehearse(
    run: Run, world: World, found: Triage, down: Rehearsal | None, before: BeforeUp, copy: str
) -> Rehearsal:
    why = (
        decide.why_not_here(found, backups=world.backups is not None, place=world.place is not None)
        or decide.not_worth_it(down)
        or decide.why_not_between(before)
    )
    if why:
        raise NotOffered(why)
    try:
        log, uncovered = _log(run, world, found, before)
        merged = not log.guard and run.earlier("lost_writes.states", merge_states.Merged) is not None
        new = restore.make(run, world, found, before, again=merged)
        source = carry if log.guard else merge_states
        carried = source.rehearse(run, world, log, before, new)
        plan, ground = restore.plan(run, world, before, uncovered, log, new, carried)
    except BackoutError as error:  # another strategy may do: the people decide
        if run.stopping:
            raise
        raise NotOffered(f"the restore could not be rehearsed: {error.what}") from error
    return restore.record(run, world, found, down, plan, ground, copy)


def _log(run: Run, world: World, found: Triage, before: BeforeUp) -> tuple[LogSource, tuple[str, ...]]:
    """Where the writes come from: a guard's log, else the states themselves; with what it does not cover."""
    name, guard = f"backout/{run.incident}/guard", world.guarded
    why = "no guard was armed before the migration"
    if guard is not None:
        why = decide.why_not_from(guard, found, before, guards.seen(world, guard, name).checks)
        if not why:
            uncovered = (*decide.uncovered(guard), *carry.unseen(world, guard, before, name))
            return decide.log_source(guard, before), uncovered
        run.progress(f"not from the log: {why}")
    missing = restore.why_no_slot(world, name)
    if missing:
        raise NotOffered(f"{why}, and {missing}")
    return restore.states_source(run, before), merge_states.uncompared(world, before, name)


def ready(run: Run, world: World, proposal: Proposal) -> None:
    """Before anything happens: what was rehearsed is still there, and the log still holds every write."""
    plan = proposal.restore
    if plan is not None:
        restore.alive(world, plan)
        carry.readable(run, world, plan)


def settled(run: Run, world: World, proposals: Proposals) -> bool:
    """Settle what an earlier process may have left held; whether traffic has moved."""
    plan = next((p.restore for p in proposals.proposals if p.restore is not None), None)
    if plan is None or not run.signals("go"):
        return False
    if move.moved(run) is not None:
        return True
    if not move.begun(run):
        return False
    with carry.idle(run, world, plan) as drain, move.ground(run, world, plan, drain) as ground:
        left = move.settle(run, ground)
    return left is not None and left.way == "forward"


def give_up(run: Run, world: World, proposals: Proposals | None) -> bool:
    """Before a round or an incident is left: settled, and unless traffic has moved nothing of ours waits for
    the next hold. Whether traffic has moved."""
    over = proposals is not None and settled(run, world, proposals)
    if not over:
        move.clear(run, world)
    return over


def retire(world: World, new: NewSide) -> None:
    """A restored instance that traffic was never moved to takes no connections any more."""
    restore.retire(world, new)


def carry_out(
    run: Run, world: World, clearance: Clearance, role: str, *, over: bool
) -> tuple[Execution, RestoreDone]:
    """Open the restored instance, bring it up to date, move traffic, prove it. Each part looks before it
    acts; what is missed before the switch leaves everything as it was. `role` is the tool's own; `over`:
    traffic has moved, and the old side is fenced."""
    proposal = clearance.permit.proposal
    plan = _plan(proposal)
    serving = restore.serve(run, world, plan, role)
    if not plan.log.guard:
        plan = merge_states.merge(run, world, plan)
    carrying = carry.idle if over else carry.carrying
    with carrying(run, world, plan) as drain, move.ground(run, world, plan, drain) as ground:
        carry.catch_up(run, drain)
        if not over:
            canary_reads.watch(run, world, plan, drain, lambda: _agreed(run, world, proposal, role))
        own_slot = "" if plan.log.guard else plan.log.slot
        moved, proof = move.cross(run, ground, plan.proof_seconds, own_slot)
    carried = carry.final(run, world, plan)
    tried = canary_reads.seen(run)
    done = run.step("restore.done", RestoreDone, lambda _: RestoreDone(carried, moved, proof, serving, tried))
    return execution.moved(run, world, proposal, moved), done


def _agreed(run: Run, world: World, proposal: Proposal, role: str) -> tuple[Check, ...]:
    there = new_side(world, proposal, role)
    dsn = there.databases.snapshot_dsn()
    name = f"backout/{run.incident}/canary"
    return on_copy.run_plan(world.validation, there.databases, on_copy.environment(world, dsn), name)


def new_side(world: World, proposal: Proposal, role: str) -> World:
    """The target as it is now: on its new side."""
    return restore.on_new_side(world, _plan(proposal), role)


def _plan(proposal: Proposal) -> RestorePlan:
    assert proposal.restore is not None, "strategy B is only ever proposed with its plan"
    return proposal.restore
