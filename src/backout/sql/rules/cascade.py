"""CASCADE reaches what is not named."""

from __future__ import annotations

from backout.sql.facts import EffectKind, Reading
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return any(
        effect.cascade and effect.kind is not EffectKind.CREATE_EXTENSION for effect in reading.effects
    )


RULE = Rule(
    name="cascade",
    problem=(
        "Objects that depend on the named one go with it: views, foreign keys, columns, with TRUNCATE "
        "the rows of other tables. Nothing in the text says which."
    ),
    solution=("Name each object; let the statement fail when something was forgotten."),
    meets=_meets,
)
