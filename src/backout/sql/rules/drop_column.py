"""Dropping a column takes its values with it."""

from __future__ import annotations

from backout.sql.facts import EffectKind, Reading
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return reading.has(EffectKind.DROP_COLUMN)


RULE = Rule(
    name="drop-column",
    problem=(
        "DROP COLUMN removes every value of the column; adding it again gives NULL or the default, "
        "and the schema looks as if nothing had happened."
    ),
    solution=(
        "Stop using the column first and drop it a release later; in a down, keep its values under "
        "the row's key first."
    ),
    meets=_meets,
)
