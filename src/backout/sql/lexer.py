"""A small, forgiving lexer of PostgreSQL's surface: strings, comments, dollar quotes; never raises.

The real parser answers for every text that it understands. This lexer is for the rest: scripts with psql
meta-commands or mistakes in them, markers in comments, and a guess at nesting before the real parser, whose
recursion has no limit of its own, is asked at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\n\r\f\v]+)
    | (?P<comment>--[^\n\r]*)
    | (?P<block>/\*)
    | (?P<string>[eE]'[^'\\]*(?:(?:''|\\.)[^'\\]*)*'?
               |(?:[bBxXnN]|[uU]&)?'[^']*(?:''[^']*)*'?)
    | (?P<quoted>(?:[uU]&)?"[^"]*(?:""[^"]*)*"?)
    | (?P<dollar>\$(?:[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*)?\$)
    | (?P<word>[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*)
    | (?P<number>\d[\w.]*)
    | (?P<operator>(?:[+*<>=~!@\#%^&|`?:]|-(?!-)|/(?!\*))+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_COPY_FROM_STDIN = re.compile(r"\s*copy\b.*\bfrom\s+stdin\b", re.IGNORECASE | re.DOTALL)
_COPY_END = re.compile(r"^\\\.[ \t\r]*$", re.MULTILINE)

_LEFT_RECURSIVE_WORDS = frozenset({"collate", "at", "not", "case"})
_RELATION_WORDS = frozenset({"join", "union", "intersect", "except"})


class TokenKind(StrEnum):
    """What a token is, as far as splitting needs to know."""

    SPACE = "space"
    COMMENT = "comment"
    STRING = "string"
    QUOTED = "quoted"
    WORD = "word"
    NUMBER = "number"
    OPERATOR = "operator"
    OTHER = "other"


_KINDS = {
    "space": TokenKind.SPACE,
    "comment": TokenKind.COMMENT,
    "block": TokenKind.COMMENT,
    "string": TokenKind.STRING,
    "quoted": TokenKind.QUOTED,
    "dollar": TokenKind.STRING,
    "word": TokenKind.WORD,
    "number": TokenKind.NUMBER,
    "operator": TokenKind.OPERATOR,
    "other": TokenKind.OTHER,
}
TRIVIA = (TokenKind.SPACE, TokenKind.COMMENT)


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `start` and `end` are character offsets into the text it came from."""

    kind: TokenKind
    start: int
    end: int


def tokens(text: str, position: int = 0) -> Iterator[Token]:
    """The tokens of `text` from `position` on, without gaps; what is not closed reaches to the end."""
    while found := _TOKEN.match(text, position):
        group = found.lastgroup or "other"
        end = found.end()
        if group == "block":
            end = _end_of_block(text, end)
        elif group == "dollar":
            closing = text.find(found.group(), end)
            end = len(text) if closing < 0 else closing + len(found.group())
        yield Token(_KINDS[group], position, end)
        position = end


def _end_of_block(text: str, position: int) -> int:
    """The offset behind a block comment that was opened before `position`; such comments nest."""
    depth = 1
    while depth:
        edge = _BLOCK_EDGE.search(text, position)
        if edge is None:
            return len(text)
        depth += 1 if edge.group() == "/*" else -1
        position = edge.end()
    return position


def trim(text: str) -> str:
    """`text` without white space and comments before and after it."""
    stripped = text.strip(" \t\n\r\f\v")
    if "--" not in stripped and "*/" not in stripped:
        return stripped
    solid = [token for token in tokens(stripped) if token.kind not in TRIVIA]
    return stripped[solid[0].start : solid[-1].end] if solid else ""


class _Splitter:
    """Where a statement may end: not inside parentheses, and not inside `BEGIN ATOMIC ... END`."""

    def __init__(self) -> None:
        self.parentheses = 0
        self.blocks = 0
        self.previous = ""

    def see(self, word: str) -> None:
        """Take note of one solid token, in lower case."""
        if word == "(":
            self.parentheses += 1
        elif word == ")":
            self.parentheses = max(0, self.parentheses - 1)
        elif (word == "atomic" and self.previous == "begin") or (self.blocks and word == "case"):
            self.blocks += 1
        elif self.blocks and word == "end":
            self.blocks -= 1
        self.previous = word

    @property
    def between_statements(self) -> bool:
        return not self.parentheses and not self.blocks


def split(text: str) -> tuple[str, ...]:
    """The statements of a script as well as a lexer can tell them, trimmed, without empty ones.

    A psql meta-command is a piece of its own (`\\i other.sql`); the data behind `COPY ... FROM stdin;`
    up to its `\\.` is no statement and is left out.
    """
    pieces: list[str] = []
    position = 0
    while position < len(text):
        end, behind = _next_cut(text, position)
        pieces.append(text[position:end])
        position = behind
    return tuple(piece for piece in map(trim, pieces) if piece)


def _next_cut(text: str, start: int) -> tuple[int, int]:
    """Where the statement that begins at `start` ends, and where the next one begins."""
    state = _Splitter()
    blank = True
    for token in tokens(text, start):
        if token.kind not in (TokenKind.WORD, TokenKind.OTHER):
            blank = blank and token.kind in TRIVIA
            continue
        word = text[token.start : token.end].lower()
        if word == "\\":
            end = _end_of_line(text, token.start) if blank else token.start
            return end, end
        if word == ";" and state.between_statements:
            return token.start, _behind_copy_data(text, start, token.end)
        state.see(word)
        blank = False
    return len(text), len(text)


def _end_of_line(text: str, position: int) -> int:
    newline = text.find("\n", position)
    return len(text) if newline < 0 else newline


def _behind_copy_data(text: str, start: int, end: int) -> int:
    """`end`, or the offset behind the inline data when the statement before it is a COPY FROM stdin."""
    if not _COPY_FROM_STDIN.match(text, start, end):
        return end
    closing = _COPY_END.search(text, end)
    return end if closing is None else closing.end()


def nesting(text: str) -> int:
    """An upper bound, in levels, for how deeply the parser would nest this text.

    Operators, casts, joins and set operations nest to the left once each; commas, AND and OR do not.
    """
    deepest = 0
    levels: list[tuple[int, int]] = []
    chain = relations = below = 0
    for token in tokens(text):
        if token.kind in (TokenKind.SPACE, TokenKind.COMMENT, TokenKind.STRING, TokenKind.NUMBER):
            continue
        word = text[token.start : token.end].lower()
        if word == "(" or word == "[":
            levels.append((chain, relations))
            below += chain + relations + 1
            chain = relations = 0
        elif word in (")", "]") and levels:
            chain, relations = levels.pop()
            below -= chain + relations + 1
        elif word in (",", "and", "or"):
            chain = 0
        elif word == ";" and not levels:
            chain = relations = 0
        elif token.kind is TokenKind.OPERATOR or word in _LEFT_RECURSIVE_WORDS:
            chain += 1
        elif word in _RELATION_WORDS:
            relations += 1
        deepest = max(deepest, below + chain + relations)
    return deepest
