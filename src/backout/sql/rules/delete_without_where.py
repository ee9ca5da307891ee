"""A DELETE that spares no row."""

from __future__ import annotations

from backout.sql.facts import EffectKind, Reading, Trait
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return any(
        effect.kind is EffectKind.DELETE and Trait.WHERE not in effect.traits for effect in reading.effects
    )


RULE = Rule(
    name="delete-without-where",
    problem=(
        "DELETE without a condition removes the rows that were there before the migration together "
        "with its own: the harmless up with the deadly down."
    ),
    solution=("Name the rows by key, or by something that only the migration wrote."),
    meets=_meets,
)
