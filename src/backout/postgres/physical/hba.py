"""Who may come in over a network: the lines of a pg_hba.conf, read from a server or from its file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from backout.postgres.connect import Session

LOOPBACK = (
    "host all all 127.0.0.1/32 scram-sha-256",
    "host all all ::1/128 scram-sha-256",
)
"""For a server of which nothing better is known."""
_NETWORK = ("host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")
_PLAIN = re.compile(r"[A-Za-z0-9_.:/$-]+\Z")


def read_hba(session: Session) -> tuple[str, ...]:
    """The lines for connections over a network, in order; empty when this role may not read them."""
    may = session.execute(
        """SELECT pg_catalog.has_function_privilege('pg_catalog.pg_hba_file_rules()', 'EXECUTE'),
                  pg_catalog.has_table_privilege('pg_catalog.pg_hba_file_rules', 'SELECT')"""
    ).fetchone()
    if may != (True, True):
        return ()
    rows = session.execute(
        """SELECT type, database, user_name, address, netmask, auth_method, options
           FROM pg_catalog.pg_hba_file_rules"""  # in the order of the file: first match wins
    ).fetchall()
    return tuple(_line(row) for row in rows if row[0] in _NETWORK)


def _line(rule: Sequence[Any]) -> str:
    kind, databases, users, address, netmask, method, options = rule
    names = (",".join(map(_word, databases)), ",".join(map(_word, users)))
    more = (_word(option) for option in options or ())
    return " ".join([kind, *names, *filter(None, (address, netmask)), method, *more])


def _word(text: str) -> str:
    """Quoted when it has to be: quotes take the meaning of a keyword away, so only then."""
    if text.startswith("+"):  # the members of a role; inside the quotes it would be part of the name
        return "+" + _word(text[1:])
    return text if _PLAIN.match(text) else '"' + text.replace('"', '""') + '"'


def lines_of_file(text: str) -> tuple[str, ...]:
    """The lines for connections over a network in the text of a pg_hba.conf, up to the first `include`.

    What an included file says is not known, and the first line that matches decides: so nobody gets in by a
    line behind it whom the file might turn away.
    """
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        first = line.split(maxsplit=1)[:1]
        if first and first[0].startswith("include"):
            break
        if first and first[0] in _NETWORK:
            found.append(line.strip())
    return tuple(found)


def refused_line(session: Session) -> int | None:
    """Number of the first line of this server's own pg_hba.conf that it cannot read, as the file is now;
    None when it can read all. A line that never matches, such as one for TLS without TLS, is none."""
    row = session.execute(
        """SELECT min(line_number) FROM pg_catalog.pg_hba_file_rules
           WHERE error IS NOT NULL AND type IS NULL"""
    ).fetchone()
    return None if row is None else row[0]
