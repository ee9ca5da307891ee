"""A CHECK validated at once."""

from __future__ import annotations

from backout.sql.facts import EffectKind, Reading, Trait
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return any(
        effect.kind is EffectKind.ADD_CONSTRAINT
        and Trait.CHECK in effect.traits
        and Trait.NOT_VALID not in effect.traits
        for effect in reading.effects
    )


RULE = Rule(
    name="add-check-validated",
    problem=(
        "A CHECK fails on the first row that does not pass (23514), such as may have been written "
        "while the rule was wider, and reads the whole table under an exclusive lock."
    ),
    solution=("Add it NOT VALID, mend the rows, VALIDATE CONSTRAINT in a statement of its own."),
    meets=_meets,
)
