"""A function that runs with its owner's rights."""

from __future__ import annotations

from backout.sql.facts import Reading, Trait
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return any(Trait.SECURITY_DEFINER in effect.traits for effect in reading.effects)


RULE = Rule(
    name="security-definer",
    problem=(
        "SECURITY DEFINER lends the owner's rights to every caller; without a fixed search_path a "
        "caller can make it run objects of his own."
    ),
    solution=(
        "Set search_path in the function itself, revoke EXECUTE from PUBLIC, own it by a role with "
        "few rights."
    ),
    meets=_meets,
)
