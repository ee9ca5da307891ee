"""The screen of `kept drop`: what would go for good, or went."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from backout.render import words
from backout.render.layout import State, Style, hanging, page
from backout.render.screens.kept_age import KeptAge, told


class Drop(Protocol):
    """A forecast (`dropped` is false), or what was done."""

    @property
    def incident(self) -> str: ...
    @property
    def tables(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def age(self) -> KeptAge: ...
    @property
    def dropped(self) -> bool: ...
    @property
    def next(self) -> str: ...


def screen(answer: Drop, *, style: Style, now: datetime) -> str:
    """How much, how old, why; and whether it is gone."""
    state, word = (State.PASS, "dropped") if answer.dropped else (State.TO_COME, "would drop")
    counted = f"{words.plural(answer.tables, 'table')}: {told(answer.age, now)}"
    lines = hanging(f"  {style.symbol(state)} {word}  ", f"{answer.incident}, {counted}", style)
    lines += hanging("  reason  ", answer.reason, style)
    lines.append("No kept table of it is left." if answer.dropped else "Nothing was dropped yet.")
    return page(lines, answer.next, style)
