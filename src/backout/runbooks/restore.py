"""Restore from backup, handle lost writes, shift traffic: strategy B, from its rehearsal to its proof."""

from __future__ import annotations

from backout.model.execution import Execution
from backout.model.gate import Clearance, Proposals
from backout.model.plan import Proposal, Rehearsal
from backout.model.restore import RestoreDone, RestorePlan
from backout.model.snapshot import BeforeUp
from backout.model.triage import Triage
from backout.phases.cutover import move
from backout.phases.execution import act as execution
from backout.phases.lost_writes import carry
from backout.phases.restore import act as restore
from backout.phases.restore import decide
from backout.ports.run import Run
from backout.ports.world import World
from backout.runbooks import guard as guards


def rehearse(
    run: Run, world: World, found: Triage, down: Rehearsal | None, before: BeforeUp, copy: str
) -> tuple[Rehearsal | None, str]:
    """The restore with every write since carried onto it, production untouched; or why there is none."""
    guard = world.guarded
    why = decide.why_not_here(
        found, backups=world.backups is not None, place=world.place is not None, guard=guard
    ) or decide.not_worth_it(down)
    if why or guard is None:
        return None, why
    health = guards.seen(world, guard, f"backout/{run.incident}/guard")
    why = decide.why_not_from(guard, before, health.checks)
    if why:
        return None, why
    log = decide.log_source(guard, before)
    new = restore.make(run, world, found, before)
    carried = carry.rehearse(run, world, log, before, new)
    plan, ground = restore.plan(run, world, before, guard, log, new, carried)
    return restore.record(run, world, found, down, plan, ground, copy), ""


def ready(world: World, proposal: Proposal) -> None:
    """Before anything happens: what was rehearsed is still there."""
    if proposal.restore is not None:
        restore.alive(world, proposal.restore)


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


def carry_out(run: Run, world: World, clearance: Clearance, role: str) -> tuple[Execution, RestoreDone]:
    """Open the restored instance, bring it up to date, move traffic, prove it. Each part looks before it
    acts; what is missed before the switch leaves everything as it was. `role` is the tool's own."""
    proposal = clearance.permit.proposal
    plan = _plan(proposal)
    serving = restore.serve(run, world, plan, role)
    over = carry.idle if move.moved(run) is not None else carry.carrying
    with over(run, world, plan) as drain, move.ground(run, world, plan, drain) as ground:
        carry.catch_up(run, drain)
        moved, proof = move.cross(run, ground, plan.proof_seconds)
    carried = carry.final(run, world, plan)
    done = run.step("restore.done", RestoreDone, lambda _: RestoreDone(carried, moved, proof, serving))
    return execution.moved(run, world, proposal, moved), done


def new_side(world: World, proposal: Proposal, role: str) -> World:
    """The target as it is now: on its new side."""
    return restore.on_new_side(world, _plan(proposal), role)


def _plan(proposal: Proposal) -> RestorePlan:
    assert proposal.restore is not None, "strategy B is only ever proposed with its plan"
    return proposal.restore
