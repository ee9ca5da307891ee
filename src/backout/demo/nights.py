"""The nights that the demo can tell, as stories of the same world."""

from __future__ import annotations

from dataclasses import dataclass, replace

from backout.demo import anew, destructive, ending, place, scenes, second, story
from backout.demo.story import Night, Wishes
from backout.demo.world import heroes, seasons
from backout.errors import ConfigurationError

FIRST = Night(
    heroes.HEROES,
    heroes.checks,
    place.find,
    (
        ("work", scenes.work),
        ("deploy", scenes.deploy),
        ("alarm", scenes.alarm),
        ("open", scenes.open_incident),
        ("contain", scenes.contain),
        ("prove", scenes.prove),
        ("propose", scenes.propose),
        ("approve", scenes.approve),
        ("revert application", scenes.revert_application),
        ("run", scenes.run),
        ("release", scenes.release),
        ("verify", scenes.verify),
        ("kept", scenes.kept),
        ("postmortem", scenes.postmortem),
    ),
    ending.first,
)

DESTRUCTIVE = Night(
    seasons.SEASONS_TEAM,
    seasons.checks,
    destructive.where,
    (
        ("work", scenes.work),
        ("backup", destructive.backup),
        ("deploy", destructive.deploy),
        ("alarm", destructive.alarm),
        ("open", scenes.open_incident),
        ("contain", destructive.contain),
        ("prove", scenes.prove),
        ("propose", scenes.propose),
        ("approve", scenes.approve),
        ("run", destructive.run),
        ("parked", destructive.parked_rows),
        ("release", scenes.release),
        ("verify", scenes.verify),
        ("postmortem", scenes.postmortem),
    ),
    destructive.end,
)

RESTORE = Night(
    seasons.MOVING_TEAM,
    seasons.checks,
    anew.where,
    (
        ("work", scenes.work),
        ("backup", anew.backup),
        ("deploy", anew.deploy),
        ("alarm", destructive.alarm),
        ("open", scenes.open_incident),
        ("contain", destructive.contain),
        ("prove", scenes.prove),
        ("propose", scenes.propose),
        ("approve", anew.approve),
        ("run", anew.run),
        ("parked", destructive.parked_rows),
        ("release", scenes.release),
        ("verify", scenes.verify),
        ("count", anew.count),
        ("way back", anew.way_back),
        ("postmortem", scenes.postmortem),
    ),
    anew.end,
)

UNGUARDED = replace(
    RESTORE,
    scenes=tuple((n, destructive.deploy if n == "deploy" else scene) for n, scene in RESTORE.scenes),
)
"""Without a guard what was written since is found by comparing the states around the migration."""

_NO_GUARD = "--no-guard: a repair arms no guard; what one holds is not read by it yet."


@dataclass(frozen=True, slots=True)
class Asked:
    """Which night, as it was typed."""

    destructive: bool
    second: bool
    strategy: str
    """Empty = not given."""
    no_guard: bool


def tell(asked: Asked, wishes: Wishes) -> int:
    """Tell the night that is asked for; its exit code. Raises `ConfigurationError` for one that is none."""
    require_sense(asked)
    if asked.second:
        return second.tell(wishes)
    if not asked.destructive:
        return story.tell(FIRST, wishes)
    if asked.strategy == "restore":
        return story.tell(UNGUARDED if asked.no_guard else RESTORE, wishes)
    return story.tell(DESTRUCTIVE, replace(wishes, remarks=(_NO_GUARD,) if asked.no_guard else ()))


def require_sense(asked: Asked) -> None:
    """Raises `ConfigurationError` for options that do not go together."""
    of_destructive = asked.strategy or asked.no_guard
    where = destructive.where()
    if asked.destructive and asked.second:
        what = "destructive and --second are two different stories"
    elif of_destructive and not asked.destructive:
        what = "--strategy and --no-guard belong to the story destructive"
    else:
        return
    raise ConfigurationError(
        what,
        where="the command line",
        intact="everything; nothing was started",
        next=where.command(),
    )
