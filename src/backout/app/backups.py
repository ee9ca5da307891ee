"""The verbs about base backups: take one, list what there is, prove that one restores."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backout.app import lock, worlds
from backout.app.desk import Desk
from backout.errors import Busy, ConfigurationError, UnknownName
from backout.model.check import Check, all_good
from backout.ports.backups import Backup, Backups, Surroundings
from backout.postgres.physical import proof
from backout.postgres.physical.growing import telling
from backout.postgres.physical.instances import Instances


@dataclass(frozen=True, slots=True)
class BackupLine:
    """One base backup, or one restored instance of it."""

    id: str
    kind: str
    taken_at: str
    size_bytes: int
    """Of the restored cluster."""
    start: str
    stop: str
    needs: tuple[str, ...]
    """What it cannot be restored without, the full one first; empty = it is a full one."""
    stored_bytes: int
    """What it takes where it lies; 0 = its tool does not say."""
    proven_at: str
    """RFC 3339: when it was restored and read whole last; empty = never."""


@dataclass(frozen=True, slots=True)
class BackupList:
    """`backup list` and `backup take`."""

    target: str
    backups: tuple[BackupLine, ...]
    instances: tuple[str, ...]
    """Restored clusters that still are there."""
    checks: tuple[Check, ...]
    next: str


@dataclass(frozen=True, slots=True)
class BackupProof:
    """`backup prove`: what was restored and read."""

    target: str
    backup: str
    needs: tuple[str, ...]
    proven_at: str
    """RFC 3339; empty when a check failed."""
    seconds: float
    bytes: int
    checks: tuple[Check, ...]
    next: str


def listing(desk: Desk, target: str | None) -> BackupList:
    """Every whole base backup, oldest first, and whether its tool can be used now."""
    name = desk.app.target_name(target)
    tool = _tool(desk, name)
    with suppress(Busy), lock.worker(desk.app.state, "backup list", desk.actor):
        _tidy(desk, tool)
    return _listed(desk, name, tool, "backout doctor" if tool.list() else "backout backup take")


def take(desk: Desk, target: str | None, *, full: bool = False) -> BackupList:
    """Take a base backup now; `full` = one that stands on no other."""
    name = desk.app.target_name(target)
    world = desk.app.world(name)
    with lock.worker(desk.app.state, "backup take", desk.actor):
        tool = _tool(desk, name, world.databases.snapshot_dsn())
        _tidy(desk, tool)
        tool.take(_label(name, world.now()), full=full)
        _expire(desk, tool)
    return _listed(desk, name, tool, "backout backup prove")


def prove(desk: Desk, target: str | None, identifier: str | None) -> BackupProof:
    """Restore a base backup (default: the newest) to a new instance, read every row, and remove it."""
    name = desk.app.target_name(target)
    with lock.worker(desk.app.state, "backup prove", desk.actor):
        tool = _tool(desk, name)
        _tidy(desk, tool)
        backup = _chosen(tool, name, identifier)
        _proofs(desk, name, backup).unlink(missing_ok=True)
        desk.teller.progress(f"restoring {backup.id}")
        here = Instances(Surroundings(desk.app.state / "instances", desk.app.config_path.parent))
        with telling(lambda: here.directory(proof.INSTANCE), backup.size_bytes, desk.teller.progress):
            found = proof.prove(tool, backup)
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}" if all_good(found.checks) else ""
        answer = BackupProof(
            *(name, backup.id, backup.needs, at, found.seconds, backup.size_bytes, found.checks),
            "backout backup list" if at else "backout backup take --full",
        )
        _record(_proofs(desk, name, backup), at)
    return answer


def _chosen(tool: Backups, name: str, identifier: str | None) -> Backup:
    there = tool.list()
    found = [backup for backup in there if identifier in (None, backup.id)]
    if not found:
        raise UnknownName(
            f"there is no base backup {identifier or ''}".rstrip() + f" of {name}",
            where=name,
            intact="everything; nothing was restored",
            next="backout backup list" if there else "backout backup take",
        )
    return found[-1]


def _tidy(desk: Desk, tool: Backups) -> None:
    for left in tool.tidy():
        desk.teller.progress(f"removed {left}, which a killed command left half made")


def _expire(desk: Desk, tool: Backups) -> None:
    """Retention waits for the end of every incident: its migration may need the oldest backup there is."""
    if desk.open_incidents():
        return
    for gone in tool.expire():
        desk.teller.progress(f"removed {gone}: the retention keeps newer ones")


def _proofs(desk: Desk, name: str, backup: Backup) -> Path:
    return desk.app.state / "proofs" / _plain(name) / f"{_plain(backup.id)}.json"


def _record(path: Path, proven_at: str) -> None:
    if proven_at:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(json.dumps({"proven_at": proven_at}))


def _proven_at(path: Path) -> str:
    try:
        return str(json.loads(path.read_text())["proven_at"])
    except (OSError, ValueError, KeyError):
        return ""


def _label(name: str, at: datetime) -> str:
    """What the backup is called where its tool keeps a label; a target's name may hold other characters.

    With the moment, because a tool gives a whole backup of the same label back instead of taking one.
    """
    return f"backout-{_plain(name)[:36]}-{at:%Y%m%dT%H%M%SZ}"


def _plain(name: str) -> str:
    """A name as part of a label or of a file's name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)


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


def _listed(desk: Desk, name: str, tool: Backups, following: str) -> BackupList:
    lines = [
        BackupLine(
            *(b.id, b.kind, b.taken_at, b.size_bytes, str(b.start), str(b.stop), b.needs, b.stored_bytes),
            _proven_at(_proofs(desk, name, b)),
        )
        for b in tool.list()
    ]
    there = tuple(instance.name for instance in tool.instances())
    return BackupList(name, tuple(lines), (*there, *tool.unfinished()), tool.checks(), following)
