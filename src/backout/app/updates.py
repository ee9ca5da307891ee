"""`update`: tell the stakeholders how an incident stands, now or when it is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backout.app.aftermath import went_back
from backout.app.desk import Desk
from backout.app.reading import UPDATE, every, line, update_due
from backout.app.results import Told, Updates
from backout.model.execution import Execution, Outcome
from backout.model.journal import EntryKind
from backout.records import codec
from backout.render import notices

_ENDED = {
    Outcome.BACKED_OUT: "it is backed out; every value that the rollback destroyed is kept",
    Outcome.UNTOUCHED: notices.UNCHANGED,
    Outcome.IN_DOUBT: "kept values; nothing is repeated before a person has looked",
}


def update(desk: Desk, incident_id: str, said: str) -> Updates:
    """Send a status update of one incident: `said`, else where its story stands."""
    return Updates((_tell(desk, desk.incident(incident_id).id, said),), line(desk, incident_id).next)


def updates_due(desk: Desk) -> Updates:
    """Send one for every open incident whose next update is due; made for a clock, and silent otherwise."""
    now = datetime.now(UTC)
    told = tuple(_tell(desk, one, "") for one in desk.open_incidents() if _due(desk, one) <= now)
    return Updates(told, "backout status")


def _due(desk: Desk, incident_id: str) -> datetime:
    incident = desk.incident(incident_id)
    return datetime.fromisoformat(update_due(desk.app, incident, desk.app.journal.read(incident_id)))


def _tell(desk: Desk, incident_id: str, said: str) -> Told:
    row = line(desk, incident_id)
    due = datetime.now(UTC) + timedelta(seconds=every(desk.app))
    text = notices.progress(
        desk.incident(incident_id),
        said or row.now,
        safe=_safe(desk, incident_id),
        acts=row.acts,
        next=row.next,
        next_update=due,
    )
    body = {"text": text, "audience": "stakeholders"}
    entry = desk.record(incident_id, EntryKind.NOTICE, UPDATE, body)
    desk.teller.notice(text, "stakeholders", entry)
    return Told(incident_id, text, due.isoformat(timespec="seconds"))


def _safe(desk: Desk, incident_id: str) -> str:
    """What of the data is safe at this point of the story, in the words of the other notices."""
    if went_back(desk, incident_id) is not None:
        return "every write is on the old side again; the restored instance is kept"
    downs = [entry for entry in desk.app.journal.read(incident_id) if entry.key.endswith(".execution.down")]
    match downs[-1].kind if downs else None:
        case EntryKind.STARTED:
            return "what the rollback destroys is kept in its own transaction; whether it ended is looked at"
        case EntryKind.FINISHED:
            done = codec.load(Execution, downs[-1].body)
            return _ENDED[done.outcome]
        case _:
            return notices.UNCHANGED
