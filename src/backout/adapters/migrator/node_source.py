"""Read a node-pg-migrate migration without running it: is there a down, is it in a transaction."""

from __future__ import annotations

import re

from backout.model.migration import DownKind

# Everything that must not be mistaken for code, in one pass from left to right.
_NOT_CODE = re.compile(
    r"""//[^\n]*|/\*.*?(?:\*/|\Z)|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`""", re.DOTALL
)
_ASSIGNED = re.compile(
    r"""(?:exports\s*\.\s*down\s*=(?!=)
        |\b(?:const|let|var)\s+down\b\s*(?::[^=]+)?=(?!=|>)
        |(?<![\w$.])down\s*:)\s*(?P<value>[^\s;,}]+)?""",
    re.VERBOSE,
)
_DECLARED = re.compile(r"\bfunction\s+down\b|(?<![\w$.])(?:async\s+)?down\s*\(")
_NAMED = re.compile(r"(?:(?<![\w$.])|exports\s*\.\s*)down(?![\w$])")
# From the start of a function's text to the brace that opens its body.
_TO_BODY = re.compile(
    r"\s*(?:async\b\s*)?(?:function\b\s*[\w$]*\s*|down\s*)?(?:\([^()]*\)|[\w$]+)\s*(?::[^={]+)?(?:=>)?\s*\{"
)
_NO_TRANSACTION = re.compile(r"\.\s*noTransaction\s*\(")
_RELATIVE_IMPORT = re.compile(r"""(?:\brequire\s*\(|\bfrom\b|\bimport\s*\(?)\s*['"]\.{1,2}/""")

_SQL_UP = re.compile(r"^\s*--[\s-]*up\s+migration", re.IGNORECASE | re.MULTILINE)
_SQL_DOWN = re.compile(r"^\s*--[\s-]*down\s+migration", re.IGNORECASE | re.MULTILINE)
_SQL_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def code_of(text: str) -> str:
    """The text with comments and string contents blanked, positions unchanged."""
    return _NOT_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)


def script_down(text: str) -> DownKind:
    """What the way back of a JavaScript or TypeScript migration looks like.

    No `down` at all: the tool runs the up in reverse. `down = false`: the author refuses.
    """
    code = code_of(text)
    if not _NAMED.search(code):
        return DownKind.INFERRED
    assigned = _ASSIGNED.search(code)
    if assigned and assigned.group("value") == "false":
        return DownKind.REFUSED
    if assigned and assigned.group("value") == "undefined":
        return DownKind.INFERRED
    body = _down_body(code)
    return DownKind.EMPTY if body is not None and not body.strip(" \t\r\n;") else DownKind.PRESENT


def _down_body(code: str) -> str | None:
    """Text between the braces of the down, or None when its form is one that we do not know."""
    assigned = _ASSIGNED.search(code)
    declared = _DECLARED.search(code)
    if assigned and assigned.group("value"):
        start = assigned.start("value")
    elif declared:
        start = declared.start()
    else:
        return None
    opened = _TO_BODY.match(code, start)
    return None if opened is None else _braced(code, opened.end())


def _braced(code: str, start: int) -> str | None:
    depth = 1
    for position in range(start, len(code)):
        depth += {"{": 1, "}": -1}.get(code[position], 0)
        if depth == 0:
            return code[start:position]
    return None


def script_transactional(text: str) -> bool | None:
    """False when the migration leaves its transaction; None when a helper beside it might do so."""
    if _NO_TRANSACTION.search(code_of(text)):
        return False
    return None if _RELATIVE_IMPORT.search(text) else True


def sql_sections(text: str) -> tuple[str, str | None]:
    """The up and the down of a single SQL file, cut as the tool cuts it (markers in either order).

    Without an up marker the tool's up is the *whole* file; without a down marker there is no down.
    """
    up, down = _SQL_UP.search(text), _SQL_DOWN.search(text)
    up_at = up.start() if up else -1
    down_at = down.start() if down else -1
    up_end = None if down_at < up_at else down_at
    up_text = text[up_at:up_end] if up else text
    if not down:
        return up_text, None
    return up_text, text[down_at : None if up_at < down_at else up_at]


def sql_down(down: str | None) -> DownKind:
    """What the down section of an SQL migration looks like; without one the tool refuses to go down."""
    if down is None:
        return DownKind.REFUSED
    return DownKind.PRESENT if _SQL_COMMENT.sub("", down).strip(" \t\r\n;") else DownKind.EMPTY
