"""The screen of `kept put-back`: every kept value has one fate, and the sum is printed."""

from __future__ import annotations

from typing import Protocol

from backout.render import words
from backout.render.layout import State, Style, hanging, page


class PutBackFigures(Protocol):
    """What a put-back did, or what a forecast says it would do; values, each counted once."""

    @property
    def incident(self) -> str: ...
    @property
    def column(self) -> str: ...
    @property
    def into(self) -> str: ...
    @property
    def written(self) -> int: ...
    @property
    def row_gone(self) -> int:
        """The row is not there any more; the value stays kept."""
        ...

    @property
    def already_there(self) -> int:
        """The live value is not NULL and was left alone; the kept one stays kept."""
        ...

    @property
    def overwritten(self) -> int:
        """Of those written, how many replaced a live value; only by naming it."""
        ...

    @property
    def next(self) -> str: ...


def screen(done: PutBackFigures, *, style: Style, next: str = "") -> str:
    """What was written, what could not be, and that nothing kept was dropped."""
    return page(_lines(done, "put back", State.PASS, style), next or done.next, style)


def forecast_screen(forecast: PutBackFigures, *, style: Style, next: str = "") -> str:
    """The same before anything is written, for the person who confirms it."""
    lines = _lines(forecast, "would put back", State.TO_COME, style)
    return page([*lines, "Nothing was written yet."], next or forecast.next, style)


def _lines(done: PutBackFigures, word: str, state: State, style: Style) -> list[str]:
    lines = hanging(f"  {style.symbol(state)} {word}  ", f"{done.column} into {done.into}", style)
    left = f"still kept: row gone {done.row_gone:,}, left alone {done.already_there:,}"
    counted = f"written {done.written:,}   overwritten {done.overwritten:,}   {left}"
    total = done.written + done.row_gone + done.already_there
    lines += hanging("  ", counted, style)
    lines += hanging(
        "  ",
        f"{words.plural(total, 'kept value')} = {done.written:,} written + {done.row_gone:,} row gone "
        f"+ {done.already_there:,} left alone",
        style,
    )
    return lines
