"""`rehearse`: an exercise, with a journal of its own and never an effect on production."""

from __future__ import annotations

from backout.app import copies, lock
from backout.app.desk import Desk
from backout.app.results import Exercise
from backout.phases.strategy import candidates
from backout.runbooks.rehearse import rehearse as story


def rehearse(desk: Desk, target: str | None, last: int, migrations: tuple[str, ...]) -> Exercise:
    """Triage, proof and rehearsal of the newest `last` migrations, or of the named ones."""
    name = desk.app.target_name(target)
    world = desk.app.world(name)
    with lock.worker(desk.app.state, "rehearse", desk.actor):
        exercise = desk.new_incident(
            *(name, world.environment, "exercise"), migrations=migrations, last=last, prefix="exc"
        )
        found, proven, rehearsals, proposals = story(desk.story(exercise.id), world, exercise)
        copies.give_up(desk, exercise.id, name)
    return Exercise(
        *(exercise.id, found, rehearsals, proposals),
        candidates.put_back(found, str(world.project)) or "nothing",
        *(proven.snapshot, world.environment),
    )
