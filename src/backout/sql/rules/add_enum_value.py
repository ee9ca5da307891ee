"""A label added to an enum."""

from __future__ import annotations

from backout.sql.facts import EffectKind, Reading
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return reading.has(EffectKind.ADD_VALUE)


RULE = Rule(
    name="add-enum-value",
    problem=(
        "There is no DROP VALUE: the label stays after every down. ADD VALUE runs in a transaction "
        "since PostgreSQL 12, but the label cannot be used before that transaction commits (55P04)."
    ),
    solution=(
        "Expect the label to stay; use it in a later migration only. Where labels must go, a lookup "
        "table serves better."
    ),
    meets=_meets,
)
