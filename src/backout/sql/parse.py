"""The face of this room: a script as statements, each with class, tag, objects, summary and hazards."""

from __future__ import annotations

import re
from functools import lru_cache

from backout.model.statement import Statement, StatementClass
from backout.sql import tree
from backout.sql.facts import Reading
from backout.sql.reading import readings
from backout.sql.rules import hazards_of
from backout.sql.summary import summarise
from backout.sql.tree import Node

__all__ = ["isolation_asked", "statements"]

_CACHED_LENGTH = 4096
"""Characters; longer texts are bulk inserts and dumps, which hardly come twice and would fill the cache."""
_CACHED_TEXTS = 1024
_BOUNDARY = re.compile(r"\s*(begin|commit|rollback)\s*;?\s*\Z", re.IGNORECASE | re.ASCII)
_BOUNDARY_CLASSES = {
    "BEGIN": StatementClass.BEGIN,
    "COMMIT": StatementClass.COMMIT,
    "ROLLBACK": StatementClass.ROLLBACK,
}
_ISOLATION = re.compile(r"isolation", re.IGNORECASE)
_LEVELS = ("read uncommitted", "read committed", "repeatable read", "serializable")
_ISOLATION_OPTIONS = ("transaction_isolation", "default_transaction_isolation")


def statements(text: str) -> tuple[Statement, ...]:
    """The statements of a script, in order, as PostgreSQL's own parser splits and reads them.

    Never raises, on any text. A piece that the parser does not understand has the class UNKNOWN, which
    counts as a write. Texts come without the white space, comments and semicolons around them; data behind
    COPY FROM stdin is left out. Short texts are answered from a cache.
    """
    boundary = _BOUNDARY.match(text)
    if boundary:
        tag = boundary.group(1).upper()
        return (Statement(boundary.group(1), _BOUNDARY_CLASSES[tag], tag),)
    return _cached_statements(text) if len(text) <= _CACHED_LENGTH else _statements(text)


def _statements(text: str) -> tuple[Statement, ...]:
    return tuple(map(_statement, readings(text)))


_cached_statements = lru_cache(maxsize=_CACHED_TEXTS)(_statements)


def _statement(reading: Reading) -> Statement:
    return Statement(
        text=reading.text,
        klass=reading.klass,
        tag=reading.tag,
        objects=reading.objects,
        summary=_summary(reading),
        hazards=hazards_of(reading),
    )


def _summary(reading: Reading) -> str:
    if reading.klass is StatementClass.UNKNOWN:
        return f"not understood: {reading.tag}".rstrip(": ")
    return summarise(reading.effects) or _plain_summary(reading)


def _plain_summary(reading: Reading) -> str:
    """Statements without effects: the tag with what it names (`SELECT users`)."""
    named = reading.objects or reading.settings
    return f"{reading.tag} {', '.join(named[:3])}".rstrip()


def isolation_asked(text: str) -> str | None:
    """The isolation level that a text asks for, in lower case (`repeatable read`), or None.

    Understands BEGIN and START TRANSACTION with a level, SET TRANSACTION, SET SESSION CHARACTERISTICS, and
    SET of `transaction_isolation` and `default_transaction_isolation`, also through `set_config`. Of several
    the strictest; a level that cannot be read from the text (a parameter) counts as `serializable`.
    """
    if not _ISOLATION.search(text):
        return None
    asked = [
        level
        for fragment in tree.fragments(text)
        if fragment.node is not None
        for level in _levels(fragment.node)
    ]
    return max(asked, key=_LEVELS.index, default=None)


def _levels(node: Node) -> list[str]:
    found: list[str] = []
    if node.kind == "VariableSetStmt" and node.text("name").lower() in _ISOLATION_OPTIONS:
        found += [_level(argument) for argument in node.children("args")]
    if node.kind in ("VariableSetStmt", "TransactionStmt"):
        options = node.find("DefElem")
        found += [_level(o.child("arg")) for o in options if o.text("defname") == "transaction_isolation"]
    for call in node.find("FuncCall"):
        arguments = call.children("args")
        if call.strings("funcname")[-1:] == ("set_config",) and len(arguments) > 1:
            name = _literal(arguments[0])
            if name is None or name in _ISOLATION_OPTIONS:
                found.append(_level(arguments[1]))
    return found


def _level(argument: Node | None) -> str:
    level = _literal(argument)
    return level if level in _LEVELS else _LEVELS[-1]


def _literal(node: Node | None) -> str | None:
    if node is None or node.kind != "A_Const":
        return None
    text = node.child("sval")
    return " ".join(text.text("sval").lower().split()) if text is not None else None
