"""What it does is decided while it runs."""

from __future__ import annotations

from backout.model.statement import StatementClass
from backout.sql.facts import Reading
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return reading.klass is StatementClass.DYNAMIC


RULE = Rule(
    name="dynamic-sql",
    problem=(
        "DO, CALL and EXECUTE run code whose statements cannot be read from the text, so no reader, "
        "this one included, can tell what they destroy."
    ),
    solution=("Write the statements out; where that is impossible, believe only a rehearsal."),
    meets=_meets,
)
