"""Migration scripts as text: the halves of a dbmate file, and commands that only psql understands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from backout.sql import lexer

_MARKER = re.compile(r"--[ \t]*migrate:(up|down)(?=\s|\Z)(.*)", re.DOTALL)
_NO_TRANSACTION = re.compile(r"(?:^|\s)transaction:false(?:\s|\Z)")
_META_COMMAND = re.compile(r"\\\S*")


@dataclass(frozen=True, slots=True)
class DbmateScript:
    """A single-file migration as dbmate writes it. The marker lines are not part of the halves."""

    up: str
    down: str
    up_transaction: bool
    down_transaction: bool
    has_up: bool
    """Whether there is an up marker; without one the file is not dbmate's."""
    has_down: bool
    """Whether there is a down marker: a missing down is not an empty one."""


@dataclass(frozen=True, slots=True)
class _Marker:
    half: str
    options: str
    start: int
    end: int


def split_dbmate(text: str) -> DbmateScript:
    """Split `-- migrate:up [transaction:false]` and `-- migrate:down [transaction:false]` apart.

    A marker counts at the beginning of a line and outside of strings, dollar quotes and block comments;
    of several markers of one kind the first counts. What stands before the up marker belongs to no half.
    dbmate itself also cuts at a marker inside a string; such a file breaks there and is read whole here.
    """
    markers = tuple(_markers(text))
    up = next((marker for marker in markers if marker.half == "up"), None)
    down = next((marker for marker in markers if marker.half == "down"), None)
    return DbmateScript(
        up=_half(text, up, down),
        down=_half(text, down, up),
        up_transaction=_in_transaction(up),
        down_transaction=_in_transaction(down),
        has_up=up is not None,
        has_down=down is not None,
    )


def _markers(text: str) -> Iterator[_Marker]:
    for token in lexer.tokens(text):
        at_line_start = token.start == 0 or text[token.start - 1] in "\n\r"
        if token.kind is lexer.TokenKind.COMMENT and at_line_start:
            found = _MARKER.match(text, token.start, token.end)
            if found:
                yield _Marker(found.group(1), found.group(2), token.start, token.end)


def _half(text: str, marker: _Marker | None, other: _Marker | None) -> str:
    """The text behind a marker, up to the other one when that comes later; trimmed of empty lines."""
    if marker is None:
        return ""
    end = other.start if other is not None and other.start > marker.start else len(text)
    return text[marker.end : end].strip("\r\n")


def _in_transaction(marker: _Marker | None) -> bool:
    """dbmate runs each half in a transaction unless its marker says otherwise."""
    return marker is None or not _NO_TRANSACTION.search(marker.options)


def meta_commands(text: str) -> tuple[str, ...]:
    """The psql meta-commands of a script, in order (`\\!`, `\\i`); outside of strings and comments only."""
    return tuple(
        found.group()
        for piece in lexer.split(text)
        if piece.startswith("\\") and (found := _META_COMMAND.match(piece))
    )


def is_empty(text: str) -> bool:
    """Whether a script does nothing: only white space, comments and semicolons."""
    return not lexer.split(text)
