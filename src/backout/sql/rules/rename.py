"""A name changes under a running application."""

from __future__ import annotations

from backout.sql.facts import EffectKind, Reading
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return reading.has(EffectKind.RENAME_COLUMN, EffectKind.RENAME_TABLE)


RULE = Rule(
    name="rename",
    problem=(
        "Every program that still uses the old name fails from the commit on, and after a down every "
        "program that uses the new one."
    ),
    solution=(
        "Add the new name beside the old (a column kept in step, or a view), move the programs, "
        "remove the old name later."
    ),
    meets=_meets,
)
