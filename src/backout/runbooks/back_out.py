"""Back out a migration: the runbook's story from the alert to the resolution, in order.

It decides nothing and touches nothing; it names the phases. A command advances it until it ends or must
wait for a person; typed again, it goes on where the journal ends.
"""

from __future__ import annotations

from backout.model.execution import Execution, Outcome, Verification
from backout.model.incident import Incident
from backout.phases.communication import act as communication
from backout.phases.execution import act as execution
from backout.phases.gate import act as gate
from backout.phases.rehearsal import act as rehearsal
from backout.phases.snapshot import act as snapshot
from backout.phases.strategy import act as strategy
from backout.phases.strategy import candidates
from backout.phases.triage import act as triage
from backout.phases.verification import act as verification
from backout.ports.run import Run
from backout.ports.world import World


def back_out(run: Run, world: World, incident: Incident) -> Verification:
    """Advance the story; raises `Waiting` where a person is needed, `Stopped` where it is safe to go on."""
    found = triage.find(run, world, incident)
    communication.initial(run, incident, found)
    run.wait("propose", until="waits for a proposal", next=f"backout propose {incident.id}")

    proven = snapshot.take_and_prove(run, world, found)
    communication.snapshot_taken(run, incident, proven.snapshot)
    rehearsals = tuple(
        rehearsal.rehearse(run, world, found, plan, proven) for plan in candidates.decide(found)
    )
    proposals = strategy.propose(run, world, found, rehearsals, proven)
    communication.proposed(run, incident, rehearsals)
    run.wait("go", until="waits for two approvals", next=f"backout approve {incident.id}")

    permit = gate.permit(run, world, incident, proposals, proven.snapshot, proven.proof)
    clearance = gate.clear(run, permit, snapshot.fresh(run, world, permit))
    done = execution.carry_out(run, world, clearance)
    if done.outcome is not Outcome.BACKED_OUT:
        rehearsal.reproduce(run, world, clearance, proven)
        raise execution.failure(incident.id, done)

    checks = verification.verify(run, world, clearance.permit.proposal, done)
    communication.resolution(run, incident, done, checks)
    return checks


def executed(run: Run) -> Execution | None:
    """The recorded execution of this round, if there was one."""
    return run.result("execution.down", Execution)
