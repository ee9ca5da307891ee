"""The verbs that only read: status, show, copies. They write no step and take no lock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backout.app.comebacks import alarms
from backout.app.compose import Application
from backout.app.containment import unreleased
from backout.app.desk import INITIAL_NOTICE_WITHIN, Desk
from backout.app.keeping import ages
from backout.app.results import IncidentLine, StatusList
from backout.engine.story import current_round
from backout.errors import BackoutError
from backout.model.incident import Incident
from backout.model.journal import Entry, EntryKind
from backout.phases.containment.act import Containment

UPDATE = "communication.update"
"""Key of the status updates, which belong to no round."""


def status(desk: Desk) -> StatusList:
    """All incidents that are not closed, newest first, and what of ours needs attention."""
    lines = tuple(line(desk, incident_id) for incident_id in reversed(desk.open_incidents()))
    kept = ages(desk)
    over = next((f"backout kept drop {age.incident} --reason TEXT" for age in kept if age.over), "nothing")
    return StatusList(lines, alarms(desk), lines[0].next if lines else over, kept)


def line(desk: Desk, incident_id: str) -> IncidentLine:
    """One row of `status`, read from the journal alone."""
    entries = desk.app.journal.read(incident_id)
    incident = desk.incident(incident_id)
    now, waits, following = _where(incident_id, entries)
    return IncidentLine(
        *(incident.id, incident.target, incident.environment, now, waits),
        *(_acts(entries), current_round(entries), update_due(desk.app, incident, entries)),
        tuple(_stands(job) for job in unreleased(desk, incident_id)),
        following,
    )


def _stands(job: Containment) -> str:
    """`etl`, or how many of its workers run again."""
    return f"{job.name}: {job.progress}" if job.progress else job.name


def _acts(entries: tuple[Entry, ...]) -> str:
    """Who did the newest thing; a status update is often a clock's."""
    return next(entry.actor for entry in reversed(entries) if entry.key != UPDATE)


def _where(incident_id: str, entries: tuple[Entry, ...]) -> tuple[str, str, str]:
    """(now, waits for, next) from the newest entry that moves the story."""
    prefix = f"r{current_round(entries)}."
    moving = [e for e in entries if e.key.startswith((prefix, "verify."))]
    for entry in reversed(moving):
        key = entry.key.removeprefix(prefix)
        if entry.kind is EntryKind.STARTED:
            return f"{key}, attempt {entry.attempt}", "", f"backout resume {incident_id}"
        if entry.kind is EntryKind.FAILED:
            return f"stopped: {entry.body['what']}", "", str(entry.body["next"])
        if entry.kind is EntryKind.FINISHED and "verification.checks" in key:
            return "backed out", "", f"backout postmortem {incident_id}"
        if entry.kind is EntryKind.FINISHED and not entry.key.startswith(prefix):
            continue
        if entry.kind is EntryKind.WAIT:
            return str(entry.body["until"]), str(entry.body["until"]), str(entry.body["next"])
        if entry.kind is EntryKind.FINISHED:
            return f"{key} done", "", f"backout resume {incident_id}"
    return "opened", "", f"backout propose {incident_id}"


def update_due(app: Application, incident: Incident, entries: tuple[Entry, ...]) -> str:
    """When the next notice is due: five minutes after opening, then on the configured clock."""
    notices = [e for e in entries if e.kind is EntryKind.NOTICE]
    opened = datetime.fromisoformat(incident.opened_at)
    if not notices:
        return (opened + INITIAL_NOTICE_WITHIN).isoformat()
    due = datetime.fromisoformat(notices[-1].at) + timedelta(seconds=every(app))
    return due.astimezone(UTC).isoformat(timespec="seconds")


def every(app: Application) -> float:
    """Seconds between two status updates, as they are promised."""
    try:
        return app.settings.channels.update_every
    except BackoutError:
        return 20 * 60.0


def timeline(desk: Desk, incident_id: str) -> tuple[Entry, ...]:
    """The journal of an incident, verified first."""
    desk.app.journal.verify(incident_id)
    return desk.app.journal.read(incident_id)
