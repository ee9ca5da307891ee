"""`update`: tell the stakeholders how an incident stands, now or when it is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backout.app.aftermath import went_back
from backout.app.desk import Desk
from backout.app.reading import UPDATE, every, line
from backout.app.results import IncidentLine, Told, Updates
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
    row = line(desk, desk.incident(incident_id).id)
    return Updates((_tell(desk, row, said),), row.next)


def updates_due(desk: Desk) -> Updates:
    """Send one for every open incident of this project whose next update is due; made for a clock, and silent
    otherwise."""
    now = datetime.now(UTC)
    rows = [line(desk, incident_id) for incident_id in desk.open_here()]
    due = (row for row in rows if datetime.fromisoformat(row.update_due) <= now)
    return Updates(tuple(_tell(desk, row, "") for row in due), "backout status")


def _tell(desk: Desk, row: IncidentLine, said: str) -> Told:
    due = datetime.now(UTC) + timedelta(seconds=every(desk.app))
    text = notices.progress(
        desk.incident(row.incident),
        said or row.now,
        safe=_safe(desk, row.incident),
        acts=row.acts,
        next=row.next,
        next_update=due,
    )
    body = {"text": text, "audience": "stakeholders"}
    entry = desk.record(row.incident, EntryKind.NOTICE, UPDATE, body)
    desk.teller.notice(text, "stakeholders", entry)
    return Told(row.incident, text, due.isoformat(timespec="seconds"))


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
