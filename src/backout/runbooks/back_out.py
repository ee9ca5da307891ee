"""Back out a migration: the runbook's story from the alert to the resolution, in order.

It decides nothing and touches nothing; it names the phases. A command advances it until it ends or must
wait for a person; typed again, it goes on where the journal ends.
"""

from __future__ import annotations

from backout.model.execution import Outcome, Verification
from backout.model.gate import Clearance
from backout.model.incident import Incident
from backout.model.triage import Triage
from backout.phases.communication import act as communication
from backout.phases.execution import act as execution
from backout.phases.gate import act as gate
from backout.phases.lost_writes import act as lost_writes
from backout.phases.rehearsal import act as rehearsal
from backout.phases.snapshot import act as snapshot
from backout.phases.snapshot import before
from backout.phases.strategy import act as strategy
from backout.phases.strategy import candidates
from backout.phases.triage import act as triage
from backout.phases.verification import act as verification
from backout.ports.run import Run
from backout.ports.world import World
from backout.runbooks import restore


def back_out(run: Run, world: World, incident: Incident, held: tuple[str, ...] = ()) -> Verification:
    """Advance the story; raises `Waiting` where a person is needed, `Stopped` where it is safe to go on.

    `held` names the jobs that the incident contains; their smoke tests wait for the release.
    """
    found = triage.find(run, world, incident)
    communication.initial(run, incident, found)
    run.wait("propose", until="waits for a proposal", next=f"backout propose {incident.id}")

    proven = snapshot.take_and_prove(run, world, (*found.up, *found.down))
    communication.snapshot_taken(run, incident, proven.snapshot)
    destructive = rehearsal.may_have_destroyed(found)
    earlier = before.before_up(
        run, world, found, proven.proof.copy, destructive=destructive or bool(candidates.why_not(found))
    )
    rehearsals = tuple(
        rehearsal.rehearse(run, world, found, plan, proven.proof.copy, earlier)
        for plan in candidates.decide(found)
    )
    if rehearsal.reached_outside(rehearsals, proven.snapshot):
        proven = snapshot.widen(run, world, proven)
        rehearsals = tuple(
            rehearsal.rehearse(run, world, found, plan, proven.proof.copy, earlier, again=".widened")
            for plan in candidates.decide(found)
        )
    down = rehearsal.of_the_down(rehearsals)
    in_place = lost_writes.rehearse(run, world, found, down, earlier)
    anew, no_restore = restore.rehearse(run, world, found, down, earlier, proven.proof.copy)
    rehearsals = (*rehearsals, *filter(None, (in_place, anew)))
    proposals = strategy.propose(run, world, found, rehearsals, proven.snapshot, no_restore, earlier.why_not)
    communication.proposed(run, incident, rehearsals)
    run.wait("go", until="waits for approvals", next=f"backout approve {incident.id}")

    def allowed() -> Clearance:
        whole = snapshot.whole_since(run, world, incident.opened_at)
        permit = gate.permit(run, world, incident, proposals, proven.snapshot, proven.proof, whole)
        lost_writes.ready(world, permit.proposal)
        restore.ready(run, world, permit.proposal)
        return gate.clear(run, permit, snapshot.fresh(run, world))

    over = restore.settled(run, world, proposals)
    clearance = gate.cleared(run) if over or execution.begun(run) else allowed()
    if clearance.permit.proposal.restore is not None:
        return _anew(run, world, incident, found, clearance, held, over=over)
    lost_writes.before_the_down(run, world, found, clearance.permit.proposal)
    done = execution.carry_out(run, world, clearance, allowed)
    if done.outcome is not Outcome.BACKED_OUT:
        again = rehearsal.reproduce(run, world, clearance, proven.proof.copy)
        raise execution.failure(incident.id, done, again)

    repaired = lost_writes.repair(run, world, clearance.permit.proposal, done)
    more = lost_writes.checks(repaired)
    checks = verification.verify(run, world, clearance.permit.proposal, done, held, more)
    communication.resolution(run, incident, done, checks, repaired)
    return checks


def _anew(
    run: Run,
    world: World,
    incident: Incident,
    found: Triage,
    clearance: Clearance,
    held: tuple[str, ...],
    *,
    over: bool,
) -> Verification:
    """The end of the story where traffic moves to a restored instance."""
    proposal, role = clearance.permit.proposal, found.identity.role
    done, moved = restore.carry_out(run, world, clearance, role, over=over)
    there = restore.new_side(world, proposal, role)
    checks = verification.verify(run, there, proposal, done, held, moved.checks)
    communication.resolution(run, incident, done, checks, None, moved)
    return checks
