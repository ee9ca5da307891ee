"""Traffic moved through PgBouncer while clients write: the pause is theirs, not ours."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from tests.cutover import operating
from tests.cutover.sides import pooler, sides, stop_pairs
from tests.cutover.writers import Ledger, writing

from backout.model.cutover import CutoverBudget, Step
from backout.testing.servers import available_majors
from benchmarks.table import Judged, Line

_QUIET = 2.0
"""Seconds of writing ahead of a move and behind it."""
_PAUSE_MS = 100


@dataclass(frozen=True, slots=True)
class _Move:
    """What all clients saw of one move, in milliseconds where it is a time."""

    pause: float
    """The longest time in which nobody was acknowledged, aborted attempts included."""
    quiet: float
    """The longest write, or gap between two acknowledgements, before the move was begun."""
    held: float
    """From the hold to the release, by the operator's clock."""
    errors: int
    lost: int
    """Acknowledged writes that are not on the new side."""


def lines(major: int | None, times: int) -> list[Line]:
    """The middle and the longest pause of several moves, each of a database of its own."""
    if shutil.which("pgbouncer") is None:
        return [Line("write pause of a cutover", 0, "ms", skipped="pgbouncer is not on this machine")]
    try:
        moves = [_move(major or available_majors()[-1]) for _ in range(times)]
    finally:
        operating.end_all()
        stop_pairs()
    pauses = [move.pause for move in moves]
    quiet = median(move.quiet for move in moves)
    name = "longest write or gap before it"
    return [
        Line(
            f"write pause of a cutover, median of {times}",
            *(median(pauses), "ms", quiet, name, _PAUSE_MS, Judged.MEASURED),
        ),
        Line(
            "  the longest of them",
            *(max(pauses), "ms", max(move.quiet for move in moves), name),
            *(CutoverBudget().total, Judged.MEASURED),
        ),
        Line("  from hold to release, by the operator's clock", median(move.held for move in moves), "ms"),
        _none("  errors that clients saw", sum(move.errors for move in moves), "errors"),
        _none("  acknowledged writes lost", sum(move.lost for move in moves), "writes"),
    ]


def _none(what: str, found: int, unit: str) -> Line:
    return Line(what, found, unit, limit=0, judged=Judged.MEASURED)


def _move(major: int) -> _Move:
    """One move under twenty writers; raises `AssertionError` when none of twenty attempts comes through."""
    with sides(major) as pair, pooler(pair) as pool, tempfile.TemporaryDirectory() as name:
        with writing(pool.dsn()) as ledger:
            time.sleep(_QUIET)
            begun = time.monotonic()
            done = operating.cut_over(operating.config(pair, pool, Path(name)))
            time.sleep(_QUIET)
        lost = len(ledger.missing_on(pair.new, pair.database))
    held = next(one["at_ms"] for one in done["moved"]["times"] if one["step"] == Step.RELEASE.value)
    return _Move(ledger.longest_silence_ms, _quiet(ledger, begun), held, len(ledger.errors), lost)


def _quiet(ledger: Ledger, end: float) -> float:
    times = sorted(at for at, _, _ in ledger.acknowledged if at < end)
    gap = max(b - a for a, b in pairwise(times)) * 1000
    return max(gap, ledger.slowest_until_ms(end))
