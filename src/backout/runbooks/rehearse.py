"""A rehearsal for a calm Tuesday: the evidence of a back-out without an incident; production is only read."""

from __future__ import annotations

from pathlib import Path

from backout.model.gate import Proposals
from backout.model.incident import Incident
from backout.model.plan import Rehearsal
from backout.model.snapshot import Snapshot
from backout.model.triage import Triage
from backout.phases.lost_writes import act as lost_writes
from backout.phases.rehearsal import act as rehearsal
from backout.phases.snapshot import act as snapshot
from backout.phases.snapshot import adopt, before
from backout.phases.snapshot.facts import Proven
from backout.phases.strategy import act as strategy
from backout.phases.strategy import candidates
from backout.phases.triage import act as triage
from backout.ports.run import Run
from backout.ports.world import World
from backout.runbooks import restore


def rehearse(
    run: Run, world: World, exercise: Incident
) -> tuple[Triage, Proven, tuple[Rehearsal, ...], Proposals]:
    """If this had to be backed out tonight: what it would cost, and what is missing."""
    found = triage.find(run, world, exercise)
    proven = snapshot.take_and_prove(run, world)
    destructive = rehearsal.may_have_destroyed(found)
    earlier = before.before_up(run, world, found, proven.proof.copy, destructive=destructive)
    rehearsals = tuple(
        rehearsal.rehearse(run, world, found, plan, proven.proof.copy, earlier)
        for plan in candidates.decide(found)
    )
    down = rehearsal.of_the_down(rehearsals)
    in_place = lost_writes.rehearse(run, world, found, down, earlier)
    anew, no_restore = restore.rehearse(run, world, found, down, earlier, proven.proof.copy)
    rehearsals = (*rehearsals, *filter(None, (in_place, anew)))
    proposals = strategy.propose(run, world, found, rehearsals, proven.snapshot, no_restore, earlier.why_not)
    return found, proven, rehearsals, proposals


def take_snapshot(run: Run, world: World) -> Snapshot:
    """Take a snapshot and read it back."""
    return run.step("snapshot.taken", Snapshot, lambda attempt: snapshot.take(run, world, attempt.name))


def adopt_snapshot(run: Run, world: World, path: Path, taken_at: str) -> Proven:
    """Take in a backup that somebody else made."""
    return adopt.adopt(run, world, path, taken_at)


def prove_snapshot(run: Run, world: World) -> Proven:
    """Take a snapshot and prove it by restoring it."""
    return snapshot.take_and_prove(run, world)
