"""Tables of a screen: names are cut in the middle, and narrow terminals get `key: value` blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backout.render import words
from backout.render.layout import NARROW, Style, hanging, middle


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `names` are cut in the middle when the table is too wide."""

    title: str
    right: bool = False
    names: bool = False


def table(heads: Sequence[Column], rows: Sequence[Sequence[str]], style: Style, indent: int = 0) -> list[str]:
    """A table with its heads; below 60 columns one `key: value` block a row."""
    safe = [[style.text(cell) for cell in row] for row in rows]
    if style.width < NARROW:
        return _blocks(heads, safe, style)
    widths = _widths(heads, safe, style.width - indent)
    lines = [_cells([head.title for head in heads], heads, widths)]
    lines += [_cells(row, heads, widths) for row in safe]
    return [" " * indent + line for line in lines]


def _widths(heads: Sequence[Column], rows: Sequence[Sequence[str]], room: int) -> list[int]:
    widths = [
        max([words.columns(head.title), *(words.columns(row[i]) for row in rows)])
        for i, head in enumerate(heads)
    ]
    # The widest column of names gives way first, down to 12 columns, then any other column.
    for candidates in ([i for i, head in enumerate(heads) if head.names], list(range(len(heads)))):
        while candidates and sum(widths) + 2 * (len(widths) - 1) > room:
            widest = max(candidates, key=lambda i: widths[i])
            if widths[widest] <= 12:
                break
            widths[widest] -= 1
    return widths


def _cells(row: Sequence[str], heads: Sequence[Column], widths: Sequence[int]) -> str:
    cells = []
    for cell, head, width in zip(row, heads, widths, strict=True):
        shown = middle(cell, width)
        blank = " " * (width - words.columns(shown))
        cells.append(blank + shown if head.right else shown + blank)
    return "  ".join(cells).rstrip()


def _blocks(heads: Sequence[Column], rows: Sequence[Sequence[str]], style: Style) -> list[str]:
    lines: list[str] = []
    for row in rows:
        lines += [""] if lines else []
        for head, cell in zip(heads, row, strict=True):
            title = head.title.strip().lower()
            lines += hanging(f"{title}: " if title else "", cell, style)
    return lines
