"""A new NOT NULL column without a default."""

from __future__ import annotations

from backout.sql.facts import EffectKind, Reading, Trait
from backout.sql.rule import Rule

_FILLED = frozenset({Trait.DEFAULT, Trait.GENERATED})


def _meets(reading: Reading) -> bool:
    return any(
        effect.kind is EffectKind.ADD_COLUMN
        and Trait.NOT_NULL in effect.traits
        and not effect.traits & _FILLED
        for effect in reading.effects
    )


RULE = Rule(
    name="add-not-null-without-default",
    problem=(
        "ADD COLUMN ... NOT NULL without a default fails on any table that has rows (23502); as the "
        "way back of a DROP COLUMN it means that the way back does not exist."
    ),
    solution=("Add the column without NOT NULL, fill it, then set NOT NULL; or give it a default."),
    meets=_meets,
)
