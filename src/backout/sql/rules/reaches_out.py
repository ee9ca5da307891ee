"""A function that reaches files of the server or other servers."""

from __future__ import annotations

import re

from backout.sql.facts import Reading
from backout.sql.functions import REACHES_OUT
from backout.sql.names import split_qualified
from backout.sql.rule import Rule

_IN_BODY = re.compile(r"\b(?:" + "|".join(sorted(REACHES_OUT)) + r")\s*\(", re.IGNORECASE)


def _meets(reading: Reading) -> bool:
    called = {split_qualified(name)[-1] for name in reading.functions}
    return bool(called & REACHES_OUT) or any(map(_IN_BODY.search, reading.bodies))


RULE = Rule(
    name="reaches-out",
    problem=(
        "lo_import, pg_read_file, dblink and their like act outside this database and its "
        "transaction: no rollback undoes them, and on a copy they still reach the real world."
    ),
    solution=("Move the data in with the client; on a rehearsal copy make sure that nothing can be reached."),
    meets=_meets,
)
