"""Find adapters by name through entry points; ours come through the same door as anybody's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from backout.errors import ConfigurationError
from backout.ports.backups import Backups, Surroundings
from backout.ports.migrator import Migrator
from backout.ports.traffic import Traffic

MIGRATORS = "backout.migrators"
BACKUPS = "backout.backups"
TRAFFIC = "backout.traffic"

_BY_COMMAND = "use lever = command: `write` changes it, `restart` restarts who has read it"
_NO_LEVERS = {
    "dns": ("a record moves nobody who is connected, and nobody can say who has looked it up", _BY_COMMAND),
    "rotation": (
        "a new login moves nobody by itself; the fence already ends the old one's sessions",
        f"{_BY_COMMAND}, the login with the rest",
    ),
    "secret": ("each store has its own command", _BY_COMMAND),
    "kubernetes": ("each cluster has its own command", _BY_COMMAND),
    "rds-proxy": ("it has no hold, and moves to no instance outside of its own", _BY_COMMAND),
    "percentage": (
        "a part of the writes on each side is a split brain: one primary takes writes",
        "choose a lever that moves all writes at once",
    ),
}
"""What the field calls a lever and is none here: why, and what does it instead."""

MigratorFactory = Callable[[Path, Mapping[str, object]], Migrator]
TrafficFactory = Callable[[Mapping[str, object]], Traffic]
BackupsFactory = Callable[[Mapping[str, object], Surroundings], Backups]


def migrator(name: str, project: Path, options: Mapping[str, object]) -> Migrator:
    """The adapter called `name`, for the project in this directory.

    Raises `ConfigurationError` when no adapter of this name is installed.
    """
    factory = cast(MigratorFactory, _load(MIGRATORS, name, "migration tool", "migrations.tool"))
    return factory(project, options)


def backups(name: str, options: Mapping[str, object], surroundings: Surroundings) -> Backups:
    """The adapter called `name`; `options` are its keys of the configuration.

    Raises `ConfigurationError` when no adapter of this name is installed, or it refuses the options.
    """
    factory = cast(BackupsFactory, _load(BACKUPS, name, "backup tool", "backups.tool"))
    return factory(options, surroundings)


def traffic(name: str, options: Mapping[str, object]) -> Traffic:
    """The lever called `name` with its options; secrets in them are resolved already.

    Raises `ConfigurationError` when no adapter of this name is installed, or it refuses the options.
    """
    if name in _NO_LEVERS and name not in names(TRAFFIC):
        why, instead = _NO_LEVERS[name]
        raise ConfigurationError(
            f"{name} is no lever here: {why}",
            where="backout.toml, traffic.lever",
            intact="everything; nothing was done",
            next=instead,
        )
    return cast(TrafficFactory, _load(TRAFFIC, name, "traffic lever", "traffic.lever"))(options)


def names(group: str) -> tuple[str, ...]:
    """Names of all installed adapters of one of the groups above."""
    return tuple(sorted(point.name for point in entry_points(group=group)))


def _load(group: str, name: str, what: str, setting: str) -> Any:
    for point in entry_points(group=group):
        if point.name == name:
            return point.load()
    raise ConfigurationError(
        f"no adapter for the {what} {name!r} is installed",
        where=f"backout.toml, {setting}",
        intact="everything; nothing was done",
        next=f"choose one of: {', '.join(names(group))}",
    )
