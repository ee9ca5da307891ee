"""An index built or dropped outside a transaction."""

from __future__ import annotations

from backout.model.statement import StatementClass
from backout.sql.facts import Reading
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return reading.klass is StatementClass.NON_TRANSACTIONAL and reading.tag in (
        "CREATE INDEX",
        "DROP INDEX",
        "REINDEX",
    )


RULE = Rule(
    name="concurrent-index",
    problem=(
        "CREATE, DROP and REINDEX ... CONCURRENTLY cannot run in a transaction block (25001). When "
        "one fails it leaves an invalid index behind, which slows writes, serves no read, and makes "
        "IF NOT EXISTS skip the second try."
    ),
    solution=(
        "Give it a migration of its own without a transaction; after a failure drop the invalid index "
        "concurrently and begin again."
    ),
    meets=_meets,
)
