"""`close`: the end of an incident; what it left behind on scratch servers is destroyed."""

from __future__ import annotations

from backout.app import copies
from backout.app.containment import holds
from backout.app.desk import Desk
from backout.app.results import Closed
from backout.app.way_back import armed, give_up
from backout.errors import Refused
from backout.model.journal import EntryKind


def close(desk: Desk, incident_id: str, reason: str) -> Closed:
    """Close an incident. Refused while it still holds a job; kept values and snapshots stay."""
    incident = desk.incident(incident_id)
    held = holds(desk, incident.id)
    if held:
        raise Refused(
            f"{held[0].name} is still contained",
            where=incident.target,
            intact="everything",
            next=f"backout release {incident.id} --name {held[0].name}",
        )
    way_back = armed(desk, incident.id)
    if way_back is not None:  # its slot would retain WAL of the production for nobody
        give_up(desk, incident, *way_back)
    destroyed = copies.destroy_of(desk, incident.id, incident.target)
    desk.record(incident.id, EntryKind.DECISION, "close", {"reason": reason, "by": desk.actor})
    return Closed(incident.id, reason, destroyed, copies.after_close(desk, incident.target))
