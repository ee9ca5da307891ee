"""`contain` and `release`: small stories of their own, beside the rounds."""

from __future__ import annotations

from itertools import pairwise

from backout.app.desk import Desk
from backout.app.results import Contained
from backout.errors import ConfigurationError, Refused
from backout.model.execution import Execution, Outcome
from backout.model.incident import Incident
from backout.model.journal import EntryKind
from backout.phases.containment.act import RAMPING, WORKERS, Containment, Job
from backout.records import codec
from backout.runbooks import contain as story


def contain(desk: Desk, incident_id: str, job: Job) -> Contained:
    """Stop one job; recorded with its way back."""
    incident = desk.incident(incident_id)
    if any(held.name == job.name for held in unreleased(desk, incident.id)):
        raise Refused(
            f"{job.name} is already contained",
            where=incident.target,
            intact="everything; nothing was done",
            next=f"backout release {incident.id} --name {job.name}",
        )
    done = story.contain(desk.story(incident.id, next_prefix(desk, incident.id, "contain")), job)
    following = f"backout propose {incident.id}"
    return Contained(incident.id, done.name, done.state, done.now, following)


def release(desk: Desk, incident_id: str, name: str | None, *, whole: bool = False) -> Contained:
    """Start a contained job again, its next step or (`whole`) all of it; no name = the only one there is.

    Refused where workers run already and a check of the validation plan is not good.
    """
    incident = desk.incident(incident_id)
    held = unreleased(desk, incident.id)
    chosen = [h for h in held if name is None or h.name == name]
    if len(chosen) != 1:
        names = ", ".join(h.name for h in held) or "nothing"
        raise Refused(
            f"contained is: {names}; name one",
            where=incident.target,
            intact="everything; nothing was done",
            next=f"backout status {incident.id}",
        )
    if chosen[0].state == RAMPING and not whole:
        _require_stable(desk, incident, chosen[0])
    run = desk.story(incident.id, next_prefix(desk, incident.id, "contain"))
    done = story.release(run, chosen[0], whole=whole)
    again = f"backout release {incident.id} --name {done.name}"
    following = again if done.state == RAMPING else f"backout verify {incident.id}"
    return Contained(incident.id, done.name, done.state, told(done), following)


def told(job: Containment) -> str:
    """`1 of 16 workers, active`: how far its release is, and what was looked at."""
    return f"{job.progress}, {job.now}" if job.progress else job.now


def _require_stable(desk: Desk, incident: Incident, job: Containment) -> None:
    # `status` reads this module, and needs no database driver
    from backout.app import lock
    from backout.app.aftermath import executed_proposal, went_back, world_after
    from backout.runbooks.watch import verify_again

    done = desk.result(incident.id, "execution.down", Execution)
    if done is None or done.outcome is not Outcome.BACKED_OUT or went_back(desk, incident.id) is not None:
        return
    with lock.worker(desk.app.state, "release", desk.actor):
        run = desk.story(incident.id, next_prefix(desk, incident.id, "verify"))
        held = tuple(other.name for other in holds(desk, incident.id))
        proposal = executed_proposal(desk, incident.id, done)
        checks = verify_again(run, world_after(desk, incident, done), proposal, done, held).checks
    wrong = [check for check in checks if not check.good]
    if wrong:
        raise Refused(
            f"{job.name} stays at {job.running} workers: {wrong[0].name}: {wrong[0].detail}",
            where=incident.target,
            intact="everything; no more workers were started",
            next=f"backout verify {incident.id}",
        )


def holds(desk: Desk, incident_id: str) -> tuple[Containment, ...]:
    """The jobs that the incident holds now: nothing of them runs."""
    return tuple(held for held in unreleased(desk, incident_id) if held.state == "contained")


def unreleased(desk: Desk, incident_id: str) -> tuple[Containment, ...]:
    """The jobs that do not run as they were found."""
    newest: dict[str, Containment] = {}
    for entry in desk.app.journal.read(incident_id):
        if entry.kind is EntryKind.FINISHED and entry.key.startswith("contain."):
            record = codec.load(Containment, entry.body)
            newest[record.name] = record
    return tuple(held for held in newest.values() if held.state != "released")


def next_prefix(desk: Desk, incident_id: str, word: str) -> str:
    """`<word>.<n>`: the prefix of the next small story of this kind."""
    numbers = [
        int(parts[1])
        for parts in (e.key.split(".") for e in desk.app.journal.read(incident_id))
        if parts[0] == word and len(parts) > 1 and parts[1].isdigit()
    ]
    return f"{word}.{max(numbers, default=0) + 1}"


def job(name: str, stop: tuple[str, ...], start: tuple[str, ...], look: tuple[str, ...], workers: str) -> Job:
    """A job from the words of the command line; `workers` as `1,4,16`, or empty.

    Raises `ConfigurationError` when those are not numbers that grow, or the way back has no place for them.
    """
    counts = workers.split(",") if workers else []
    numbers = tuple(int(count) for count in counts if count.strip().isdigit())
    grows = len(numbers) == len(counts) and all(a < b for a, b in pairwise((0, *numbers)))
    if not grows or bool(numbers) != any(WORKERS in word for word in start):
        raise ConfigurationError(
            "a release in steps wants numbers that grow, and {workers} in the way back",
            where="the command line",
            intact="everything; nothing was stopped",
            next='--workers 1,4,16 --back "kubectl scale deploy/etl --replicas {workers}"',
        )
    return Job(name, stop, start, look, numbers)
