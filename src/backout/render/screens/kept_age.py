"""Since when values are kept, and until when they are wanted: one line, on several screens."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from backout.render import words
from backout.render.layout import State, Style, hanging


class KeptAge(Protocol):
    """The age of what one incident keeps; moments are RFC 3339."""

    @property
    def incident(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def values(self) -> int: ...
    @property
    def kept_at(self) -> str: ...
    @property
    def wanted_until(self) -> str: ...
    @property
    def over(self) -> bool: ...


def told(age: KeptAge, now: datetime) -> str:
    """`1,001 values on heroes, kept 3 days ago; wanted until 2027-02-20`."""
    since, until = words.moment(age.kept_at), words.moment(age.wanted_until)
    kept = words.ago(since, now) if since else age.kept_at
    day = f"{until:%Y-%m-%d}" if until else age.wanted_until
    end = f"their retention is over since {day}" if age.over else f"wanted until {day}"
    return f"{words.plural(age.values, 'value')} on {age.target}, kept {kept}; {end}"


def line(age: KeptAge, style: Style, now: datetime) -> list[str]:
    """The same with its incident; a warning once the retention is over."""
    mark = f"{style.symbol(State.WARN)} " if age.over else ""
    return hanging(f"  {mark}kept  ", f"{age.incident}: {told(age, now)}", style)
