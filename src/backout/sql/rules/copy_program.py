"""COPY that runs a program or touches a file on the server."""

from __future__ import annotations

import re

from backout.sql.facts import Reading
from backout.sql.rule import Rule

_IN_BODY = re.compile(r"\bcopy\b[^;]*\bprogram\b", re.IGNORECASE)


def _meets(reading: Reading) -> bool:
    return bool(reading.options & {"program", "file"}) or any(map(_IN_BODY.search, reading.bodies))


RULE = Rule(
    name="copy-program",
    problem=(
        "COPY ... PROGRAM runs a shell command as the server's own user, COPY with a file name reads "
        "or writes the server's disk; neither is undone by a rollback."
    ),
    solution=("COPY through the client (STDIN, STDOUT)."),
    meets=_meets,
)
