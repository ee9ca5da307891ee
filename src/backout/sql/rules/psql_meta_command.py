"""A command of psql, not of PostgreSQL."""

from __future__ import annotations

from backout.model.statement import StatementClass
from backout.sql.facts import Reading
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return reading.klass is StatementClass.UNKNOWN and reading.text.startswith("\\")


RULE = Rule(
    name="psql-meta-command",
    problem=(
        "Lines that begin with a backslash are understood by psql alone; \\! runs a shell command on "
        "the machine of whoever runs the migration, \\i reads another file."
    ),
    solution=("Write plain SQL; backout never runs a migration through psql."),
    meets=_meets,
)
