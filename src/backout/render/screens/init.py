"""The screen of `init`: what was found, what is left to fill in, what was written."""

from __future__ import annotations

from collections.abc import Sequence

from backout.render.layout import Style, facts, hanging, page


def rows(
    *,
    tool: str,
    history: str,
    target: str,
    database: str,
    dsn_env: str,
    todo: Sequence[tuple[str, int]],
    rough: Sequence[str],
) -> tuple[tuple[str, str], ...]:
    """The rows of what was found; `todo` are (what, line number)."""
    kept = f", history in {history}" if history else ""
    return (
        ("tool", f"{tool}{kept}" if tool else "not recognised"),
        ("target", f"{target}  {database}".rstrip()),
        ("DSN", f"read from {dsn_env} each time, never stored"),
        *(("rough", line) for line in rough),
        ("TODO", ", ".join(f"{what} (line {line})" for what, line in todo)),
    )


def screen(
    looked_at: str,
    found: Sequence[tuple[str, str]],
    wrote: str,
    lines: int,
    *,
    style: Style,
    next: str = "backout doctor",
    read: bool = True,
) -> str:
    """`found` are (label, text) rows, with the label `TODO` for what only a person knows; `wrote` is the
    path of the configuration and `lines` its length; `read` is false when no database was asked."""
    told = hanging("Looked at ", looked_at, style) if looked_at else []
    told += facts(found, style, label=10)
    said = "The database was only read." if read else "No database was asked."
    told += hanging("", f"Wrote {wrote}, {lines:,} lines. {said}", style)
    return page(told, next, style)
