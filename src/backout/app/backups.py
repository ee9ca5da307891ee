"""The verbs about base backups: take one, list what there is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from backout.app import lock, worlds
from backout.app.desk import Desk
from backout.errors import ConfigurationError
from backout.model.check import Check
from backout.ports.backups import Backups


@dataclass(frozen=True, slots=True)
class BackupLine:
    """One base backup, or one restored instance of it."""

    id: str
    kind: str
    taken_at: str
    size_bytes: int
    start: str
    stop: str


@dataclass(frozen=True, slots=True)
class BackupList:
    """`backup list` and `backup take`."""

    target: str
    backups: tuple[BackupLine, ...]
    instances: tuple[str, ...]
    """Restored clusters that still are there."""
    checks: tuple[Check, ...]
    next: str


def listing(desk: Desk, target: str | None) -> BackupList:
    """Every whole base backup, oldest first, and whether its tool can be used now."""
    name = desk.app.target_name(target)
    tool = _tool(desk, name)
    return _listed(name, tool, "backout doctor" if tool.list() else "backout backup take")


def take(desk: Desk, target: str | None) -> BackupList:
    """Take a base backup now."""
    name = desk.app.target_name(target)
    world = desk.app.world(name)
    with lock.worker(desk.app.state, "backup take", desk.actor):
        tool = _tool(desk, name, world.databases.snapshot_dsn())
        tool.take(_label(name, world.now()))
    return _listed(name, tool, "backout backup list")


def _label(name: str, at: datetime) -> str:
    """What the backup is called where its tool keeps a label; a target's name may hold other characters.

    With the moment, because a tool gives a whole backup of the same label back instead of taking one.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    return f"backout-{plain[:36]}-{at:%Y%m%dT%H%M%SZ}"


def _tool(desk: Desk, name: str, dsn: str = "") -> Backups:
    tool = worlds.backups(desk.app, name, dsn)
    if tool is None:
        raise ConfigurationError(
            f"no backup tool is configured for {name}",
            where=str(desk.app.config_path),
            intact="everything",
            next=f'add [target.{name}.backups] with tool = "pgbackrest", "barman" or "base_backup"',
        )
    return tool


def _listed(name: str, tool: Backups, following: str) -> BackupList:
    lines = [
        BackupLine(b.id, b.kind, b.taken_at, b.size_bytes, str(b.start), str(b.stop)) for b in tool.list()
    ]
    there = tuple(instance.name for instance in tool.instances())
    return BackupList(name, tuple(lines), (*there, *tool.unfinished()), tool.checks(), following)
