"""A foreign key validated at once."""

from __future__ import annotations

from backout.sql.facts import Effect, EffectKind, Reading, Trait
from backout.sql.rule import Rule


def _new_and_empty(effect: Effect) -> bool:
    """A column that is added without a default holds only NULL, which points nowhere."""
    return effect.kind is EffectKind.ADD_COLUMN and Trait.DEFAULT not in effect.traits


def _meets(reading: Reading) -> bool:
    return any(
        effect.kind in (EffectKind.ADD_CONSTRAINT, EffectKind.ADD_COLUMN)
        and Trait.FOREIGN_KEY in effect.traits
        and Trait.NOT_VALID not in effect.traits
        and not _new_and_empty(effect)
        for effect in reading.effects
    )


RULE = Rule(
    name="add-foreign-key",
    problem=(
        "A foreign key fails on the first orphan (23503), such as may have been written while it was "
        "missing, and locks both tables while it looks at every row."
    ),
    solution=("Add it NOT VALID, mend the orphans, VALIDATE CONSTRAINT in a statement of its own."),
    meets=_meets,
)
