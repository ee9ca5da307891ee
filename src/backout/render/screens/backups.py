"""The screen of `backup list`: base backups, restored clusters that stand, and the tool's own checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from backout.model.check import Check
from backout.render import words
from backout.render.layout import Style, checks, hanging, page
from backout.render.tables import Column, table


class BackupLine(Protocol):
    """What this screen needs of one backup."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def taken_at(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def stop(self) -> str: ...


_HEADS = (
    Column("BACKUP", names=True),
    Column("KIND"),
    Column("TAKEN"),
    Column("SIZE", right=True),
    Column("WHOLE FROM"),
)


def screen(
    backups: Sequence[BackupLine],
    instances: Sequence[str],
    tool: Sequence[Check],
    *,
    style: Style,
    next: str,
) -> str:
    """Oldest first; a migration can be restored that committed after one of them was whole."""
    rows = [(b.id, b.kind, words.when(b.taken_at), words.size(b.size_bytes), b.stop) for b in backups]
    lines = table(_HEADS, rows, style) if rows else ["There is no base backup."]
    lines += hanging("  restored clusters: ", ", ".join(instances), style) if instances else []
    return page([*lines, *checks(tool, style)], next, style)
