"""`contain` and `release`: small stories of their own, beside the rounds."""

from __future__ import annotations

from backout.app.desk import Desk
from backout.app.results import Contained
from backout.errors import Refused
from backout.model.journal import EntryKind
from backout.phases.containment.act import Containment, Job
from backout.records import codec
from backout.runbooks import contain as story


def contain(desk: Desk, incident_id: str, job: Job) -> Contained:
    """Stop one job; recorded with its way back."""
    incident = desk.incident(incident_id)
    if any(held.name == job.name for held in holds(desk, incident.id)):
        raise Refused(
            f"{job.name} is already contained",
            where=incident.target,
            intact="everything; nothing was done",
            next=f"backout release {incident.id} --name {job.name}",
        )
    done = story.contain(desk.story(incident.id, next_prefix(desk, incident.id, "contain")), job)
    following = f"backout propose {incident.id}"
    return Contained(incident.id, done.name, done.state, done.now, following)


def release(desk: Desk, incident_id: str, name: str | None) -> Contained:
    """Start a contained job again; without a name the only one there is."""
    incident = desk.incident(incident_id)
    held = holds(desk, incident.id)
    chosen = [h for h in held if name is None or h.name == name]
    if len(chosen) != 1:
        names = ", ".join(h.name for h in held) or "nothing"
        raise Refused(
            f"contained is: {names}; name one",
            where=incident.target,
            intact="everything; nothing was done",
            next=f"backout status {incident.id}",
        )
    done = story.release(desk.story(incident.id, next_prefix(desk, incident.id, "contain")), chosen[0])
    return Contained(incident.id, done.name, done.state, done.now, f"backout verify {incident.id}")


def holds(desk: Desk, incident_id: str) -> tuple[Containment, ...]:
    """The jobs that the incident holds now."""
    newest: dict[str, Containment] = {}
    for entry in desk.app.journal.read(incident_id):
        if entry.kind is EntryKind.FINISHED and entry.key.startswith("contain."):
            record = codec.load(Containment, entry.body)
            newest[record.name] = record
    return tuple(held for held in newest.values() if held.state == "contained")


def next_prefix(desk: Desk, incident_id: str, word: str) -> str:
    """`<word>.<n>`: the prefix of the next small story of this kind."""
    numbers = [
        int(parts[1])
        for parts in (e.key.split(".") for e in desk.app.journal.read(incident_id))
        if parts[0] == word and len(parts) > 1 and parts[1].isdigit()
    ]
    return f"{word}.{max(numbers, default=0) + 1}"


def job(name: str, stop: tuple[str, ...], start: tuple[str, ...], look: tuple[str, ...]) -> Job:
    """A job from the words of the command line."""
    return Job(name, stop, start, look)
