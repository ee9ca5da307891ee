"""Before a migration: a restore point and the capture of every later write. Armed, watched, dropped."""

from __future__ import annotations

from backout.model.guard import CommandRun, Dropped, Guard, GuardHealth, GuardPlan, Wishes
from backout.phases.guard import act, command, decide, gather
from backout.ports.migrator import Verb
from backout.ports.run import Run
from backout.ports.world import World


def plan(run: Run, world: World, wishes: Wishes) -> GuardPlan:
    """Look at every table and every right; what will be done, and what cannot be."""
    return run.step(
        "plan",
        GuardPlan,
        lambda attempt: decide.plan(
            run.incident, world.target, gather.facts(world, attempt.name), wishes, world.guard
        ),
    )


def arm(run: Run, world: World, planned: GuardPlan) -> Guard:
    """In this order: old rows whole, publication, then slot, then the place in the log, then the files."""
    if planned.identities:
        act.full_rows(run, world, planned)
    slot = None
    if planned.slot:
        act.publish(run, world, planned)
        slot = act.capture(run, world, planned)
    point = act.mark_place(run, world, planned) if planned.restore_point else None
    return act.armed(run, world, planned, slot, point, act.store_files(run, world))


def seen(world: World, guard: Guard, name: str) -> GuardHealth:
    """How it stands, only looked at."""
    return decide.health(guard, gather.sight(world, guard, name), world.now())


def look(run: Run, world: World, guard: Guard, name: str) -> GuardHealth:
    """How an armed guard stands now; a table that lost its key is taken care of first."""
    seen = gather.sight(world, guard, name)
    if seen.broken and seen.same_server:
        act.demote(run, world, guard, seen.broken, name)
        seen = gather.sight(world, guard, name)
    return decide.health(guard, seen, world.now())


def under(run: Run, world: World, planned: GuardPlan, guard: Guard, program: str, launch: Verb) -> CommandRun:
    """Run a command; each of its transactions begins with our marker."""
    return command.run_command(run, world, guard, program, launch, planned.origin_prefix)


def disarm(run: Run, world: World, planned: GuardPlan, reason: str) -> Dropped:
    """Everything of the guard off the server, and looked at."""
    return act.drop(run, world, planned, reason)
