"""Strategy F: ways out of a migration that was applied in part; pure.

The way that ends with what the history says already is the recommended one: a pending migration is
cleaned up, one that the history lists is finished. It changes the least, and the tool agrees with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backout.model.plan import Option, Plan, Strategy, Verdict
from backout.model.triage import Triage


def plans(found: Triage) -> tuple[Plan, ...]:
    """Both ways out, or only the repair of invalid indexes where everything else is in; else none."""
    position = len(found.history.rows)
    if found.partly_applied:
        reason = "the migration was applied in part"
        return tuple(
            Plan(s, found.offending[-1:], position, reason) for s in (Strategy.F_CLEAN, Strategy.F_FINISH)
        )
    if found.damaged:
        return (Plan(Strategy.F_FINISH, found.offending[-1:], position, "an index of it is invalid"),)
    return ()


def ranked(found: Triage, rows: Sequence[Option]) -> tuple[Option, ...]:
    """The same rows with at most one recommended; beside strategy A none is."""
    listed = found.history.find(found.offending[-1]) if found.offending else None
    first = Strategy.F_FINISH if listed is not None and not listed.dirty else Strategy.F_CLEAN
    good = [row.strategy for row in rows if row.verdict is Verdict.RECOMMENDED]
    best = (first if first in good else next(iter(good), None)) if found.partly_applied else None
    return tuple(
        replace(row, verdict=Verdict.POSSIBLE) if row.strategy in good and row.strategy is not best else row
        for row in rows
    )
