"""Go back after a restore: the writes of the new side carried to the old one, traffic moved there again."""

from __future__ import annotations

from backout.model.incident import Incident
from backout.model.plan import Proposal
from backout.model.restore import RestoreDone, RestorePlan, WayBackState, WentBack
from backout.phases.communication import act as communication
from backout.phases.cutover import move
from backout.phases.lost_writes import carry, way_back
from backout.ports.run import Run
from backout.ports.world import World


def state(world: World, proposal: Proposal, done: RestoreDone) -> WayBackState:
    """How the way back stands; only looked at."""
    return move.way_back_state(world, _plan(proposal), done.moved)


def go_back(
    run: Run, world: World, incident: Incident, proposal: Proposal, done: RestoreDone, role: str
) -> WentBack:
    """The same protocol with the sides exchanged; the fence of the first move is opened by the switch. Typed
    again after a stop it settles what was held and goes on. `role` is the tool's own."""
    plan, slot = _plan(proposal), done.moved.way_back
    old = move.way_in(world, proposal.target)
    move.analyze(old, f"backout/{run.incident}/analyze")
    with (
        way_back.following_back(run, world, plan, slot, old) as drain,
        move.ground_back(run, world, plan, drain, old) as ground,
    ):
        if move.moved(run) is None and move.begun(run):
            move.settle(run, ground)
        carry.catch_up(run, drain)
        moved, proof = move.cross(run, ground, plan.proof_seconds)
    fates = way_back.final(run, old, slot, role)
    # before the end is recorded: a story that has ended is not gone through again
    communication.went_back(run, incident, proposal, fates, moved, proof)
    went = run.step("done", WentBack, lambda _: WentBack(fates, moved, proof))
    move.give_up_way_back(world, plan, slot)
    return went


def give_up(world: World, proposal: Proposal, done: RestoreDone) -> None:
    """Give the way back up: the new side retains no WAL for it any more."""
    move.give_up_way_back(world, _plan(proposal), done.moved.way_back)


def _plan(proposal: Proposal) -> RestorePlan:
    assert proposal.restore is not None, "only a restore has a way back"
    return proposal.restore
