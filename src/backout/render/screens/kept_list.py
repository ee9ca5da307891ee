"""The screen of `kept list`: what the down destroyed and backout kept, and where it could go today."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from backout.model.execution import KeptColumn
from backout.render import words
from backout.render.layout import Style, page
from backout.render.screens.kept_age import KeptAge, line
from backout.render.tables import Column, table

_HEADS = (
    Column("COLUMN", names=True),
    Column("VALUES", right=True),
    Column("KEY", names=True),
    Column("AS OF LSN"),
    Column("PLACE TODAY", names=True),
)


def screen(
    incident_id: str,
    kept: Sequence[KeptColumn],
    *,
    style: Style,
    next: str = "",
    age: KeptAge | None = None,
    now: datetime | None = None,
) -> str:
    """One row a column; whole rows stand as `table.*`. Below them how old they are."""
    if not kept:
        return page([f"{incident_id} keeps no value."], next or "nothing", style)
    rows = [
        (
            f"{words.plain_table(k.object)}.{k.column or '*'}",
            words.count(k.values),
            ", ".join(k.key) or "none",
            k.lsn,
            k.place_today or "none",
        )
        for k in kept
    ]
    first = kept[0].column or "*"
    command = f"backout kept put-back {incident_id} --column {first}={first}"
    aged = line(age, style, now) if age and now else []
    return page([*table(_HEADS, rows, style), *aged], next or command, style)
