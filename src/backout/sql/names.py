"""Names of relations as text: quoted only where PostgreSQL would need it, and taken apart again."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*\Z")
_PART = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')


def qualified(*parts: str) -> str:
    """`schema.name` from raw parts, empty ones left out; fit for `to_regclass`.

    A part is quoted when it would otherwise be folded or cut (`"Hero Snapshots"`); a reserved word is not,
    because `to_regclass` reads names, not grammar.
    """
    return ".".join(
        part if _PLAIN.match(part) else '"' + part.replace('"', '""') + '"' for part in parts if part
    )


def split_qualified(name: str) -> tuple[str, ...]:
    """The raw parts of a name made by `qualified`, ready for `psycopg.sql.Identifier(*parts)`."""
    return tuple(
        found.group(1).replace('""', '"') if found.group(1) is not None else found.group(2)
        for found in _PART.finditer(name)
    )
