"""NOT NULL set on a column that may hold NULL."""

from __future__ import annotations

from backout.sql.facts import EffectKind, Reading
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return reading.has(EffectKind.SET_NOT_NULL)


RULE = Rule(
    name="set-not-null",
    problem=(
        "SET NOT NULL fails on the first NULL (23502), such as the application may have written since "
        "the constraint was dropped, and reads the whole table under an exclusive lock."
    ),
    solution=("Add CHECK (column IS NOT NULL) NOT VALID, fill the gaps, VALIDATE, then SET NOT NULL."),
    meets=_meets,
)
