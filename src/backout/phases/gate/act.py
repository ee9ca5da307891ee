"""Open the gate, or say exactly why it stays closed. Everything here is looked at in every process."""

from __future__ import annotations

from dataclasses import dataclass

from backout.errors import ApprovalVoid, Refused, Waiting
from backout.model.check import Check
from backout.model.gate import Clearance, Permit, Proposals
from backout.model.incident import Incident
from backout.model.people import Approval
from backout.model.plan import Proposal
from backout.model.snapshot import Proof, Snapshot
from backout.phases.gate import decide
from backout.phases.gate.facts import PresentState
from backout.phases.gate.gather import present_state
from backout.ports.run import Run
from backout.ports.world import World
from backout.records import codec
from backout.render.screens.approve import signing_message


@dataclass(frozen=True, slots=True)
class Checklist:
    """The checklist as it stood at one look."""

    checks: tuple[Check, ...]


def permit(
    run: Run,
    world: World,
    incident: Incident,
    proposals: Proposals,
    snapshot: Snapshot,
    proof: Proof,
    whole: Snapshot | None,
) -> Permit:
    """Leave to go on.

    Raises `Waiting` while approvals are missing, `ApprovalVoid` when what was approved is no longer what
    would run, `Refused` when another item of the checklist fails.
    """
    approvals = given(run)
    proposal = _chosen(incident, proposals, approvals)
    present = run.look(
        "gate.present", PresentState, lambda: present_state(world, proposal, f"backout/{incident.id}/gate")
    )
    _refuse_if_void(incident, proposal, decide.void_reasons(proposal, present))
    for approval in approvals:
        _verify(world, proposal, approval)
    checks = run.look(
        "gate.checklist",
        Checklist,
        lambda: _checklist(world, incident, proposal, approvals, snapshot, proof, whole, _go(run)),
    )
    _refuse_if_closed(incident, checks.checks)
    return Permit(codec.digest(proposal), proposal, approvals, checks.checks)


def given(run: Run) -> tuple[Approval, ...]:
    """The approvals of this round."""
    withdrawn = {entry.body["person"] for entry in run.signals("withdrawal")}
    found = (codec.load(Approval, entry.body) for entry in run.signals("approval"))
    return tuple(a for a in found if a.person not in withdrawn)


def _chosen(incident: Incident, proposals: Proposals, approvals: tuple[Approval, ...]) -> Proposal:
    letter = approvals[0].strategy if approvals else proposals.recommended
    for proposal in proposals.proposals:
        if proposal.strategy.value == letter:
            return proposal
    if not proposals.proposals:
        raise decide.nothing_to_choose(incident.id, incident.target, proposals)
    raise Waiting(
        "nothing is recommended, and nobody has chosen a strategy by name",
        where=incident.target,
        intact="everything",
        next=f"backout approve {incident.id} --strategy {proposals.proposals[0].strategy.value}",
    )


def _refuse_if_void(incident: Incident, proposal: Proposal, reasons: tuple[str, ...]) -> None:
    if reasons:
        raise ApprovalVoid(
            f"approval is void: {'; '.join(reasons)}",
            where=f"{incident.target}  plan {codec.short(codec.digest(proposal))}",
            intact="everything; the run did not begin",
            next=f"backout propose {incident.id}",
        )


def _verify(world: World, proposal: Proposal, approval: Approval) -> None:
    """The signature is checked again at the moment of acting: a key may have been revoked since."""
    digest = codec.digest(proposal)
    if approval.digest != digest:
        raise ApprovalVoid(
            f"{approval.person} approved {codec.short(approval.digest)}, not {codec.short(digest)}",
            where=world.target,
            intact="everything; the run did not begin",
            next=f"backout approve {proposal.incident} --as {approval.person}",
        )
    message = signing_message(proposal, digest, approval.role, approval.person, proposal.accept_by_name)
    world.people.verify(approval.person, message.encode(), approval.signature)
    roles = {p.name: p.roles for p in world.people.enrolled()}
    if approval.role not in roles.get(approval.person, ()):
        raise ApprovalVoid(
            f"{approval.person} no longer holds the role {approval.role.value}",
            where=world.target,
            intact="everything; the run did not begin",
            next=f"backout propose {proposal.incident}",
        )


def _go(run: Run) -> dict[str, str]:
    """What was said with the newest `run`."""
    said = run.signals("go")
    return {str(k): str(v) for k, v in said[-1].body.items()} if said else {}


def _checklist(
    world: World,
    incident: Incident,
    proposal: Proposal,
    approvals: tuple[Approval, ...],
    snapshot: Snapshot,
    proof: Proof,
    whole: Snapshot | None,
    go: dict[str, str],
) -> Checklist:
    return Checklist(
        decide.checklist(
            world.policy, proposal, approvals, snapshot, proof, whole, world.validation, incident.channel, go
        )
    )


def _refuse_if_closed(incident: Incident, checks: tuple[Check, ...]) -> None:
    failed = [check for check in checks if not check.good]
    if not failed:
        return
    waits = [check for check in failed if check.name in ("approvals", "down reviewed")]
    said = "; ".join(f"{check.name}: {check.detail}" for check in failed)
    if len(waits) == len(failed):
        raise Waiting(
            f"the gate waits: {said}",
            where=incident.target,
            intact="everything; the run did not begin",
            next=f"another person has to approve: backout approve {incident.id}",
        )
    raise Refused(
        f"the gate is closed: {said}",
        where=incident.target,
        intact="everything; the run did not begin",
        next=next((check.mend for check in failed if check.mend), f"backout propose {incident.id}"),
    )


def clear(run: Run, permit: Permit, fresh: Snapshot) -> Clearance:
    """The only maker of a clearance: a permit, and a snapshot taken after it was given."""
    key = f"gate.clearance.{fresh.id}"
    return run.step(key, Clearance, lambda _attempt: Clearance(permit, fresh))


def cleared(run: Run) -> Clearance:
    """The clearance under which a down was begun whose end is not known, or is: it is not asked for again,
    because what it was bound to has changed by that very down."""
    found = run.newest("gate.clearance.", Clearance)
    assert found is not None, "a down is only ever begun with a clearance"
    return found
