"""The live frame of `run`: who acts, the steps with took and predicted, what is safe, the next update."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from backout.render import words
from backout.render.layout import NARROW, Place, Step, Style, hanging, steps


def screen(
    place: Place,
    acts: str,
    rows: Sequence[Step],
    *,
    safe: str,
    update_due: datetime | None,
    style: Style,
    now: datetime,
) -> str:
    """One frame while the run goes on; it has no `next:`, because nothing is to be typed.

    The running row says in `more` whom or what it waits for.
    """
    heads = f"{'took':>11}{'predicted':>11}"
    acting = style.text(f"acts: {acts}")
    room = style.width - words.columns(acting) - len(heads)
    lines = hanging("", str(place), style)
    lines += [acting + " " * room + heads] if style.width >= NARROW and room > 1 else [acting]
    lines += steps(rows, style)
    lines += hanging("safe: ", safe, style)
    if update_due is not None:
        lines += hanging(
            "", f"update due {words.clock(update_due, now)} ({words.due(update_due, now)})", style
        )
    return "\n".join(lines)
