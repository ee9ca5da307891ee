"""An error as people read it: what happened, where, what is intact, the next command."""

from __future__ import annotations

from backout.errors import BackoutError, Waiting
from backout.render.layout import Style, hanging, page


def render_error(error: BackoutError, style: Style) -> str:
    """The four parts of an error, each always there: what nobody knows is called unknown."""
    word = "waits" if isinstance(error, Waiting) else "error"
    lines = hanging(f"{word} (exit {error.exit_code}): ", error.what, style)
    lines += hanging("  where   ", error.where or "unknown", style)
    lines += hanging("  intact  ", error.intact or "unknown", style)
    for note in getattr(error, "__notes__", ()):
        lines += hanging("  also    ", note, style)
    return page(lines, error.next or "backout status", style)
