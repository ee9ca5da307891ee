"""Array literals of type text[], both ways: values of ours travel as text."""

from __future__ import annotations

from collections.abc import Sequence


def array(values: Sequence[str]) -> str:
    """A text[] literal."""
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in escaped) + "}"


def elements(literal: str) -> list[str]:
    """The elements of a text[] literal without NULLs."""
    found: list[str] = []
    inner, position = literal[1:-1], 0
    while position < len(inner):
        if inner[position] == '"':
            element, position = _quoted_element(inner, position + 1)
        else:
            end = inner.find(",", position)
            end = len(inner) if end < 0 else end
            element, position = inner[position:end], end
        found.append(element)
        position += 1
    return found


def _quoted_element(inner: str, position: int) -> tuple[str, int]:
    element = ""
    while inner[position] != '"':
        position += inner[position] == "\\"
        element += inner[position]
        position += 1
    return element, position + 1
