"""`close`: the end of an incident; what it left behind on scratch servers is destroyed."""

from __future__ import annotations

from backout.app import copies, lock
from backout.app.aftermath import went_back
from backout.app.containment import unreleased
from backout.app.desk import Desk
from backout.app.results import Closed
from backout.app.way_back import armed
from backout.app.way_back import give_up as give_up_way_back
from backout.errors import Refused
from backout.model.gate import Proposals
from backout.model.incident import Incident
from backout.model.journal import EntryKind
from backout.model.restore import NewSide, RestorePlan
from backout.postgres import pre_copies
from backout.records import codec
from backout.runbooks import restore


def close(desk: Desk, incident_id: str, reason: str) -> Closed:
    """Close an incident. Refused while it still holds a job; kept values and snapshots stay, and a restored
    instance that traffic was moved to."""
    incident = desk.incident(incident_id)
    held = unreleased(desk, incident.id)
    if held:
        raise Refused(
            f"{held[0].name} is still {held[0].state}",
            where=incident.target,
            intact="everything",
            next=f"backout release {incident.id} --name {held[0].name}",
        )
    way_back = armed(desk, incident.id)
    if way_back is not None:  # its slot would retain WAL of the production for nobody
        give_up_way_back(desk, incident, *way_back)
    with lock.worker(desk.app.state, "close", desk.actor):
        serves = _new_side(desk, incident)
        _drop_pre_copies(desk, incident)
        destroyed = copies.destroy_of(desk, incident.id, incident.target)
        desk.record(incident.id, EntryKind.DECISION, "close", {"reason": reason, "by": desk.actor})
    return Closed(incident.id, reason, destroyed, copies.after_close(desk, incident.target), serves)


def _new_side(desk: Desk, incident: Incident) -> str:
    """Where the application is by now, when its traffic was moved and stayed; else what was made ready for a
    move is taken back, and the restored instance closed."""
    if left_behind(desk, incident.id) and give_up(desk, incident) and not _left_again(desk, incident):
        proposals = desk.need(incident.id, "strategy.propose", Proposals)
        return next(plan.address for plan in _plans(proposals))
    for entry in desk.app.journal.read(incident.id):
        if entry.kind is EntryKind.FINISHED and entry.body.get("type") == "NewSide":
            restore.retire(desk.app.world(incident.target), codec.load(NewSide, entry.body))
    return ""


def _drop_pre_copies(desk: Desk, incident: Incident) -> None:
    """What a run that was killed, and never resumed, has copied before a down that did not come."""
    entries = desk.app.journal.read(incident.id)
    downs = [entry.kind for entry in entries if entry.key.endswith(".execution.down")]
    if downs[-1:] == [EntryKind.STARTED]:
        with desk.app.world(incident.target).databases.operate("backout/close") as session:
            pre_copies.drop(session, incident.id)


def _left_again(desk: Desk, incident: Incident) -> bool:
    """Whether traffic went back from the restored instance, and nobody writes there: all of it is on the old
    side then."""
    went = went_back(desk, incident.id)
    return went is not None and went.proof.complete


def _plans(proposals: Proposals) -> list[RestorePlan]:
    return [p.restore for p in proposals.proposals if p.restore is not None]


def left_behind(desk: Desk, incident_id: str) -> bool:
    """Whether anything was made ready on the target for a move of traffic, in any round."""
    return any(entry.key.endswith(".cutover.prepare") for entry in desk.app.journal.read(incident_id))


def give_up(desk: Desk, incident: Incident) -> bool:
    """Leave no hold and no witness behind, unless traffic has moved; whether it has."""
    proposals = desk.result(incident.id, "strategy.propose", Proposals)
    return restore.give_up(desk.story(incident.id), desk.app.world(incident.target), proposals)
