"""Restore from backup, without an incident: choose, restore to a new instance, smoke tests, hand over."""

from __future__ import annotations

from backout.model.check import Check
from backout.model.restored import Choice, HandedOver, Restored, Smoked, Wanted
from backout.model.snapshot import Snapshot
from backout.phases.restore import choice, instance, smoke
from backout.phases.restore.choice import Known
from backout.phases.verification import on_copy
from backout.ports.run import Run
from backout.ports.world import World


def choose(run: Run, world: World, wanted: Wanted, known: Known) -> Choice:
    """What is restored, settled once a round: a killed command goes on with the same point."""

    def look(name: str) -> Choice:
        return choice.choose_one(world, wanted, known, name, run.progress)

    return run.step("restore.choice", Choice, lambda attempt: look(attempt.name))


def restore(run: Run, world: World, chosen: Choice, snapshot: Snapshot | None) -> tuple[Restored, Smoked]:
    """A new instance beside everything else, and what its smoke tests say."""
    made = instance.make(run, world, chosen, snapshot)
    there = instance.databases(world, chosen, made)

    def agreed(name: str) -> tuple[Check, ...]:
        return on_copy.run_plan(world.validation, there, on_copy.environment(world, there.dsn), name)

    return made, smoke.test(run, world, chosen, made, there, snapshot, agreed)


def hand_over(run: Run, world: World, chosen: Choice, made: Restored) -> HandedOver:
    """ANALYZEd, its durability and isolation read back; only after smoke tests that hold."""
    return instance.hand_over(run, world, chosen, made)
