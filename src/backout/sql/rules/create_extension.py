"""An extension is created."""

from __future__ import annotations

from backout.sql.facts import EffectKind, Reading
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return reading.has(EffectKind.CREATE_EXTENSION)


RULE = Rule(
    name="create-extension",
    problem=(
        "It needs a right that the migration's role may not have, must exist on every server that a "
        "restore or rehearsal uses, and may run code as a superuser."
    ),
    solution=("Have an administrator create it once; check that the scratch server has it too."),
    meets=_meets,
)
