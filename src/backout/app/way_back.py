"""The verbs about the way back after a restore: how it stands, use it, give it up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from backout.app import lock
from backout.app.aftermath import executed_proposal, went_back
from backout.app.containment import next_prefix
from backout.app.desk import Desk
from backout.app.results import WayBackAnswer, WayBackUsed
from backout.app.signing import How, one_signature
from backout.errors import BackoutError, Busy, Refused
from backout.model.check import all_good
from backout.model.execution import Execution
from backout.model.incident import Incident
from backout.model.journal import EntryKind
from backout.model.plan import Proposal
from backout.model.restore import RestoreDone, WentBack
from backout.model.triage import Triage
from backout.runbooks import way_back as story

WORD = "back"


@dataclass(frozen=True, slots=True)
class ToGoBack:
    """What would be done, and the text that a person signs."""

    incident: Incident
    message: str
    next: str


def state(desk: Desk, incident_id: str) -> WayBackAnswer:
    """How the way back stands; only looked at."""
    incident, proposal, done = _moved(desk, incident_id)
    found = story.state(desk.app.world(incident.target), proposal, done)
    following = f"backout way-back use {incident.id} --as NAME" if found.armed else "nothing"
    return WayBackAnswer(incident.id, found, following)


def ask(desk: Desk, incident_id: str) -> ToGoBack:
    """What going back means; only reads. Refused when there is no way back any more."""
    incident, proposal, done = _moved(desk, incident_id)
    found = story.state(desk.app.world(incident.target), proposal, done)
    if not found.armed or found.health == "lost":
        raise Refused(
            f"there is no way back any more: its slot is {found.health}",
            where=incident.target,
            intact="everything; traffic stays on the new side",
            next=f"backout status {incident.id}",
        )
    names = ", ".join(migration.name for migration in proposal.migrations)
    message = (
        f"You sign that traffic goes back\n  incident {incident.id}\n  on {incident.target}\n"
        f"  from {done.serving.address} to {proposal.target}\n"
        f"  what was written there since goes along; {names} is live again\n"
    )
    return ToGoBack(incident, message, f"backout way-back use {incident.id} --as NAME")


def use(desk: Desk, asked: ToGoBack, person: str, how: How) -> WayBackUsed:
    """Go back after the signature of one enrolled person. Typed again after a stop it goes on."""
    incident, proposal, done = _moved(desk, asked.incident.id)
    again = f"{asked.next.replace('NAME', person)} --key FILE"
    key = one_signature(desk, incident, asked.message, person, how, again=again)
    with lock.worker(desk.app.state, "way-back use", desk.actor):
        run = desk.story(incident.id, _prefix(desk, incident.id))
        run.decide("signed", {"person": person, "key": key})
        role = desk.need(incident.id, "triage.find", Triage).identity.role
        went = story.go_back(run, desk.app.world(incident.target), incident, proposal, done, role)
    following = "nothing" if all_good(went.proof.checks) else f"backout show {incident.id}"
    return WayBackUsed(incident.id, went, following)


def drop(desk: Desk, incident_id: str) -> WayBackAnswer:
    """Give the way back up: the new side retains no WAL for it any more."""
    incident, proposal, done = _moved(desk, incident_id)
    with lock.worker(desk.app.state, "way-back drop", desk.actor):
        give_up(desk, incident, proposal, done)
    return WayBackAnswer(incident.id, story.state(desk.app.world(incident.target), proposal, done), "nothing")


def give_up(desk: Desk, incident: Incident, proposal: Proposal, done: RestoreDone) -> None:
    """Remove it from the new side, and note that it is gone."""
    story.give_up(desk.app.world(incident.target), proposal, done)
    desk.record(incident.id, EntryKind.DECISION, "way-back.dropped", {"slot": done.moved.way_back})


def tidy_one(desk: Desk, incident_id: str) -> str:
    """Give an expired way back up, unless a command is at work; a line for people."""
    found = armed(desk, incident_id)
    if found is None or datetime.now(UTC) <= datetime.fromisoformat(found[1].moved.way_back_until):
        return ""
    incident = desk.incident(incident_id)
    try:
        with lock.worker(desk.app.state, "way-back", desk.actor):
            give_up(desk, incident, *found)
    except Busy:
        return ""
    except BackoutError as error:
        return f"the way back of {incident.id} is over and could not be given up: {error.what}"
    return f"the way back of {incident.id} was given up: its time is over"


def armed(desk: Desk, incident_id: str) -> tuple[Proposal, RestoreDone] | None:
    """The move whose way back is armed by the journal: neither used nor given up."""
    moved = desk.result(incident_id, "restore.done", RestoreDone)
    execution = desk.result(incident_id, "execution.down", Execution)
    gone = any(entry.key == "way-back.dropped" for entry in desk.app.journal.read(incident_id))
    if moved is None or execution is None or not moved.moved.way_back:
        return None
    if gone or went_back(desk, incident_id) is not None:
        return None
    return executed_proposal(desk, incident_id, execution), moved


def _prefix(desk: Desk, incident_id: str) -> str:
    """The story that was begun and did not come to its end, else a new one."""
    newest = next_prefix(desk, incident_id, WORD)
    before = f"{WORD}.{int(newest.rpartition('.')[2]) - 1}"
    begun = any(entry.key.startswith(f"{before}.") for entry in desk.app.journal.read(incident_id))
    ended = desk.story(incident_id, before).result("done", WentBack) is not None
    return before if begun and not ended else newest


def _moved(desk: Desk, incident_id: str) -> tuple[Incident, Proposal, RestoreDone]:
    incident = desk.incident(incident_id)
    found = armed(desk, incident.id)
    if found is None:
        raise Refused(
            "no way back is armed in this incident: traffic was not moved, or it went back already",
            where=incident.target,
            intact="everything; nothing was done",
            next=f"backout status {incident.id}",
        )
    return incident, *found
