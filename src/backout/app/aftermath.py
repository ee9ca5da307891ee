"""The target after a back-out: what was carried out, and on which side it lives now."""

from __future__ import annotations

from backout.app.desk import Desk
from backout.model.execution import Execution
from backout.model.gate import Proposals
from backout.model.incident import Incident
from backout.model.journal import EntryKind
from backout.model.plan import Proposal
from backout.model.restore import WentBack
from backout.model.triage import Triage
from backout.ports.world import World
from backout.records import codec
from backout.runbooks.restore import new_side


def world_after(desk: Desk, incident: Incident, done: Execution) -> World:
    """The target after the back-out: after a move of traffic that is its new side."""
    world = desk.app.world(incident.target)
    proposal = executed_proposal(desk, incident.id, done)
    if proposal.restore is None or went_back(desk, incident.id) is not None:
        return world
    found = desk.need(incident.id, "triage.find", Triage)
    return new_side(world, proposal, found.identity.role)


def went_back(desk: Desk, incident_id: str) -> WentBack | None:
    """The newest return of traffic to the old side, when there was one."""
    entries = desk.app.journal.read(incident_id)
    ends = (e for e in reversed(entries) if e.kind is EntryKind.FINISHED and e.body.get("type") == "WentBack")
    found = next(ends, None)
    return codec.load(WentBack, found.body) if found is not None else None


def executed_proposal(desk: Desk, incident_id: str, done: Execution) -> Proposal:
    """The proposal that was carried out."""
    proposals = desk.need(incident_id, "strategy.propose", Proposals).proposals
    return next(p for p in proposals if p.strategy.value == done.strategy)
