"""`close`: the end of an incident; what it left behind on scratch servers is destroyed."""

from __future__ import annotations

from dataclasses import dataclass

from backout.app.containment import holds
from backout.app.desk import Desk
from backout.errors import Refused
from backout.model.journal import EntryKind
from backout.model.snapshot import BeforeUp
from backout.phases.snapshot.facts import Proven
from backout.postgres import copies
from backout.records import codec


@dataclass(frozen=True, slots=True)
class Closed:
    """`close`."""

    incident: str
    reason: str
    destroyed: tuple[str, ...]
    next: str


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
    destroyed = _destroy_copies(desk, incident.id, incident.target)
    desk.record(incident.id, EntryKind.DECISION, "close", {"reason": reason, "by": desk.actor})
    return Closed(incident.id, reason, destroyed, "nothing")


def _destroy_copies(desk: Desk, incident_id: str, target: str) -> tuple[str, ...]:
    names, instances = set[str](), set[str]()
    for entry in desk.app.journal.read(incident_id):
        if entry.kind is EntryKind.FINISHED and entry.body.get("type") == "Proven":
            names.add(codec.load(Proven, entry.body).proof.copy)
        if entry.kind is EntryKind.FINISHED and entry.body.get("type") == "BeforeUp":
            before = codec.load(BeforeUp, entry.body)
            names |= {before.database, f"{before.database[:59]}_m", f"{before.database[:59]}_r"}
            instances |= {before.before, before.after}
    servers = desk.app.servers(target)
    found = _destroy_instances(desk, target, instances - {""})
    for scratch in servers.running():
        dsn = servers.conninfo(scratch, "postgres")
        for copy in copies.list_copies(dsn, scratch.name):
            if copy.database in names:
                copies.destroy(scratch, dsn, copy.database)
                found.append(copy.database)
    return tuple(found)


def _destroy_instances(desk: Desk, target: str, names: set[str]) -> list[str]:
    """Restored clusters of the incident, also one that a killed command left half made."""
    backups = desk.app.world(target).backups
    if backups is None:
        return []
    for name in sorted(names):
        backups.destroy(name)
    return sorted(names)
