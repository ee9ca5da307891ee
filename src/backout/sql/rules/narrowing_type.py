"""A column changed to a type that may hold less."""

from __future__ import annotations

import re

from backout.sql.facts import Effect, EffectKind, Reading
from backout.sql.rule import Rule

_HOLDS_ANY_TEXT = ("text", "varchar", "citext", "public.citext")
_WIDE = re.compile(r"(bigint|numeric|double precision|real|timestamptz|bytea|jsonb?|interval)(\[\])*\Z")


def _may_hold_less(effect: Effect) -> bool:
    """Whether the new type is bounded; the old one is not in the text."""
    return effect.other not in _HOLDS_ANY_TEXT and not _WIDE.match(effect.other)


def _meets(reading: Reading) -> bool:
    return any(effect.kind is EffectKind.ALTER_TYPE and _may_hold_less(effect) for effect in reading.effects)


RULE = Rule(
    name="narrowing-type",
    problem=(
        "The new type cannot hold every value that the old one may have: one long text, one number "
        "beyond the range, and the statement stops (22001, 22003, 22P02), or with USING it cuts "
        "silently. It also rewrites the table under an exclusive lock."
    ),
    solution=(
        "Look for values that do not fit before, or keep the wider type; going back from a widening "
        "is a narrowing."
    ),
    meets=_meets,
)
