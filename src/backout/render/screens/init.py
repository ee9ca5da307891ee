"""The screen of `init`: what was found, what is left to fill in, what was written."""

from __future__ import annotations

from collections.abc import Sequence

from backout.render.layout import Style, facts, hanging, page


def screen(
    looked_at: str,
    found: Sequence[tuple[str, str]],
    wrote: str,
    lines: int,
    *,
    style: Style,
    next: str = "backout doctor",
) -> str:
    """`found` are (label, text) rows, with the label `TODO` for what only a person knows; `wrote` is the
    path of the configuration and `lines` its length."""
    told = hanging("Looked at ", looked_at, style) if looked_at else []
    told += facts(found, style, label=10)
    told += hanging("", f"Wrote {wrote}, {lines:,} lines. The database was only read.", style)
    return page(told, next, style)
