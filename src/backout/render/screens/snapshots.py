"""The screen of `snapshot list`: what there is to fall back on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from backout.model.snapshot import Snapshot
from backout.render import words
from backout.render.layout import Style, page
from backout.render.tables import Column, table

_HEADS = (
    Column("SNAPSHOT"),
    Column("TARGET", names=True),
    Column("SCOPE"),
    Column("SIZE", right=True),
    Column("TAKEN"),
    Column("PROVEN"),
)


def screen(
    found: Sequence[Snapshot],
    proven: Collection[str],
    *,
    style: Style,
    now: datetime,
    next: str = "nothing",
) -> str:
    """`proven` are the IDs of those that were restored and read."""
    if not found:
        return page(["No snapshot is in the store."], next, style)
    rows = [
        (
            s.id,
            s.target,
            s.scope.value,
            words.size(s.size_bytes) if s.size_bytes else "-",
            words.when(s.taken_at, now),
            "proven" if s.id in proven else "not proven",
        )
        for s in found
    ]
    return page(table(_HEADS, rows, style), next, style)
