"""One line a measure, and how the lines are printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Judged(StrEnum):
    """Which figure of a line the target is about."""

    MEASURED = "measured"
    RATIO = "ratio"
    ADDED = "added"


@dataclass(frozen=True, slots=True)
class Line:
    """A measure, its peer or floor from the same run, and its target if it has one."""

    what: str
    measured: float
    unit: str
    floor: float | None = None
    floor_name: str = ""
    limit: float | None = None
    judged: Judged = Judged.RATIO
    at_least: bool = False
    """The limit is the smallest good value, not the largest."""
    skipped: str = ""
    """Why nothing was measured on this machine; the figures mean nothing then."""

    @property
    def ratio(self) -> float | None:
        return self.measured / self.floor if self.floor else None

    @property
    def value(self) -> float | None:
        """The figure that the target is about."""
        match self.judged:
            case Judged.MEASURED:
                return self.measured
            case Judged.RATIO:
                return self.ratio
            case Judged.ADDED:
                return None if self.floor is None else self.measured - self.floor

    @property
    def within(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.skipped or self.limit is None or self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def target(self) -> str:
        if self.limit is None:
            return ""
        sign = ">=" if self.at_least else "<="
        match self.judged:
            case Judged.MEASURED:
                return f"{sign} {self.limit:g} {self.unit}"
            case Judged.RATIO:
                return f"{sign} {self.limit:g} x"
            case Judged.ADDED:
                return f"{sign} {self.limit:g} {self.unit} added"


def plain(line: Line) -> dict[str, object]:
    """A line as the JSON document holds it."""
    return {
        "what": line.what,
        "measured": None if line.skipped else round(line.measured, 4),
        "unit": line.unit,
        "floor": None if line.floor is None else round(line.floor, 4),
        "floor_name": line.floor_name,
        "ratio": None if line.ratio is None else round(line.ratio, 3),
        "target": line.target,
        "within": line.within,
        "skipped": line.skipped,
    }


_WITHIN = {None: "", True: "yes", False: "NO"}
_HEADS = ("what", "measured", "peer or floor", "ratio", "target", "within")


def shown(lines: Sequence[Line]) -> str:
    """The table for people."""
    rows = [_HEADS, *(cells(line) for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADS))]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def cells(line: Line) -> tuple[str, ...]:
    """What a row of a table shows: what, measured, peer or floor, ratio, target, within."""
    if line.skipped:
        return (line.what, f"not measured: {line.skipped}", "", "", line.target, "")
    return (
        line.what,
        f"{_figure(line.measured)} {line.unit}",
        "" if line.floor is None else f"{_figure(line.floor)} {line.unit} {line.floor_name}",
        "" if line.ratio is None else f"{line.ratio:.2f}",
        line.target,
        _WITHIN[line.within],
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
