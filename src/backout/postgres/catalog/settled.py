"""Bring an expression into the form it has after a dump and a restore, so that copies compare equal."""

from __future__ import annotations

import re

_LITERAL = r"'(?:[^']|'')*'"
_TYPE = r"[a-z_][a-z_ ]*(?:\(\d+\))?"
_CAST_ARRAY = re.compile(rf"\(ARRAY\[({_LITERAL}::{_TYPE}(?:, {_LITERAL}::{_TYPE})*)\]\)::({_TYPE})\[\]")
_ELEMENT = re.compile(rf"{_LITERAL}::{_TYPE}")
_TOKEN = re.compile(rf"""{_LITERAL}|"(?:[^"]|"")*"|[()]|[^'"()]+|.""", re.DOTALL)

Node = str | list["Node"]
"""Text, or what stands between a pair of parentheses."""


def settled(text: str) -> str:
    """The same expression as PostgreSQL shows it after one dump and restore; a second changes nothing more.

    Two shapes are shown otherwise when they are parsed again: `x IN ('a', 'b')` over a varchar (a cast of
    the array becomes a cast of each element), and `a BETWEEN 1 AND 2 AND b` (a nested AND becomes flat).
    """
    text = _CAST_ARRAY.sub(_cast_each, text)
    if ")) AND (" not in text and ") AND ((" not in text and ")) OR (" not in text and ") OR ((" not in text:
        return text
    nodes = _parse(text)
    return text if nodes is None else _write(_flattened(nodes))


def _cast_each(found: re.Match[str]) -> str:
    target = found.group(2)
    return "ARRAY[" + ", ".join(f"({e})::{target}" for e in _ELEMENT.findall(found.group(1))) + "]"


def _parse(text: str) -> list[Node] | None:
    """Text as a tree of parentheses; None when they do not match (a body that is no expression)."""
    stack: list[list[Node]] = [[]]
    for piece in _TOKEN.findall(text):
        if piece == "(":
            stack.append([])
        elif piece == ")":
            if len(stack) == 1:
                return None
            inner = stack.pop()
            stack[-1].append(inner)
        else:
            stack[-1].append(piece)
    return stack[0] if len(stack) == 1 else None


def _flattened(nodes: list[Node]) -> list[Node]:
    flat = [_flattened(node) if isinstance(node, list) else node for node in nodes]
    word = _connective(flat)
    if word is None:
        return flat
    return [part for node in flat for part in (node if _connective(node) == word else [node])]


def _connective(node: Node) -> str | None:
    """` AND ` or ` OR ` when a group is nothing but groups joined by it."""
    if isinstance(node, str) or len(node) < 3 or len(node) % 2 == 0:
        return None
    words = set(map(str, node[1::2]))
    if len(words) == 1 and words <= {" AND ", " OR "} and all(isinstance(n, list) for n in node[::2]):
        return words.pop()
    return None


def _write(nodes: list[Node]) -> str:
    return "".join(node if isinstance(node, str) else f"({_write(node)})" for node in nodes)
