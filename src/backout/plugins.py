"""Find adapters by name through entry points; ours come through the same door as anybody's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

from backout.errors import ConfigurationError
from backout.ports.migrator import Migrator

MIGRATORS = "backout.migrators"

MigratorFactory = Callable[[Path, Mapping[str, object]], Migrator]


def migrator_names() -> tuple[str, ...]:
    """Names of all installed migration tool adapters."""
    return tuple(sorted(point.name for point in entry_points(group=MIGRATORS)))


def migrator(name: str, project: Path, options: Mapping[str, object]) -> Migrator:
    """The adapter called `name`, for the project in this directory.

    Raises `ConfigurationError` when no adapter of this name is installed.
    """
    for point in entry_points(group=MIGRATORS):
        if point.name == name:
            factory = cast(MigratorFactory, point.load())
            return factory(project, options)
    raise ConfigurationError(
        f"no adapter for the migration tool {name!r} is installed",
        where="backout.toml, migrations.tool",
        next=f"choose one of: {', '.join(migrator_names())}",
    )
