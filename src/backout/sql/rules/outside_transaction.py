"""A statement that cannot be rolled back together with the rest."""

from __future__ import annotations

from backout.model.statement import StatementClass
from backout.sql.facts import Reading
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return reading.klass is StatementClass.NON_TRANSACTIONAL and reading.tag not in (
        "CREATE INDEX",
        "DROP INDEX",
        "REINDEX",
    )


RULE = Rule(
    name="outside-transaction",
    problem=(
        "It refuses to run in a transaction block (25001), so a failure after it leaves the migration "
        "half done."
    ),
    solution=("Give it a migration of its own without a transaction, written so that it can be run twice."),
    meets=_meets,
)
