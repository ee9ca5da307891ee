"""ALTER SYSTEM changes the whole server."""

from __future__ import annotations

from backout.sql.facts import Reading
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return reading.tag == "ALTER SYSTEM"


RULE = Rule(
    name="alter-system",
    problem=(
        "It writes the configuration file of the server, for all databases, outside any transaction; "
        "no down brings back the value before."
    ),
    solution=(
        "Change server settings where they are managed; for one database or role use ALTER DATABASE "
        "or ALTER ROLE ... SET."
    ),
    meets=_meets,
)
