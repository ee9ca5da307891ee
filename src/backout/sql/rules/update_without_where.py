"""An UPDATE of every row."""

from __future__ import annotations

from backout.sql.facts import EffectKind, Reading, Trait
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return any(
        effect.kind is EffectKind.UPDATE and Trait.WHERE not in effect.traits for effect in reading.effects
    )


RULE = Rule(
    name="update-without-where",
    problem=(
        "UPDATE without a condition replaces the value in each row; the values before it are in no "
        "file, and all rows stay locked until the transaction ends."
    ),
    solution=(
        "Write into a new column and keep the old one, in batches, with a condition that skips what is done."
    ),
    meets=_meets,
)
