"""TRUNCATE empties a table without looking at rows."""

from __future__ import annotations

from backout.sql.facts import EffectKind, Reading
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return reading.has(EffectKind.TRUNCATE)


RULE = Rule(
    name="truncate",
    problem=(
        "TRUNCATE removes all rows, old ones too, fires no DELETE trigger and with CASCADE reaches "
        "tables that are not named."
    ),
    solution=("DELETE exactly the rows that this migration inserted, by their keys."),
    meets=_meets,
)
