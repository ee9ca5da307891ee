"""The pages of the documentation, and what can be looked for in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2`*~*$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^(#{1,6}) +(.*?) *$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href|srcset)=\"([^\"]+)\"")


def pages() -> tuple[Path, ...]:
    """The README and every page below docs."""
    found = (p for p in DOCS.rglob("*.md") if "_build" not in p.parts)
    return (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(found))


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def headings(page: Path) -> tuple[str, ...]:
    """The headings of a page, without marks of code."""
    return tuple(match[2].replace("`", "") for match in _HEADING.finditer(prose(page)))


def anchors(page: Path) -> frozenset[str]:
    """What a link to a heading of this page may be called."""
    return frozenset(re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings(page))


def links(page: Path) -> Iterator[str]:
    """Links to other places of this checkout, as written."""
    for match in _LINK.finditer(re.sub(r"`[^`\n]*`", "", prose(page))):
        target = match[1] or match[2]
        if not re.match(r"[a-z]+:", target):
            yield target
