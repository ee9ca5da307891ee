"""PostgreSQL's own grammar does not understand it."""

from __future__ import annotations

from backout.model.statement import StatementClass
from backout.sql.facts import Reading
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return reading.klass is StatementClass.UNKNOWN and not reading.text.startswith("\\")


RULE = Rule(
    name="not-understood",
    problem=(
        "The statement has a syntax error for PostgreSQL 18 or nests too deeply; at best it fails at "
        "once, and nothing can be said about what it does."
    ),
    solution=("Correct it, or run it on a copy and look."),
    meets=_meets,
)
