"""The screen of `doctor --can`: what the role may do here, what is lost without it, who can give it."""

from __future__ import annotations

from collections.abc import Sequence

from backout.model.readiness import Capability, Standing
from backout.render.layout import Place, State, Step, Style, hanging, page, steps

_STATES = {
    Standing.WORKS: State.PASS,
    Standing.GRANT: State.WARN,
    Standing.CANNOT: State.SKIPPED,
    Standing.UNKNOWN: State.UNKNOWN,
}


def screen(
    place: Place, role: str, rows: Sequence[Capability], sql: str, *, style: Style, next: str = ""
) -> str:
    """One row a right: how it stands, for what it is used; below it what is lost without it.

    The grants stand in the script at the end, which is for copying: its lines are not wrapped.
    """
    lines = hanging("", str(place), style)
    lines += hanging("", f"as {role}; each right tried and rolled back, or asked from the server", style)
    lines += steps([_row(row) for row in rows], style)
    works = sum(row.standing is Standing.WORKS for row in rows)
    lines += hanging("", f"{len(rows)} rights: {works} work", style)
    return page([*lines, "", *map(style.text, sql.splitlines())], next, style)


def _row(row: Capability) -> Step:
    used_by = ", ".join(row.used_by)
    more = [f"without: {row.without}"] if row.without else []
    if row.standing is Standing.UNKNOWN:
        more.append(row.said)
    # What A needs and does not have is no mere shortcoming.
    lacking = row.required and row.standing in (Standing.GRANT, Standing.CANNOT)
    state = State.FAIL if lacking else _STATES[row.standing]
    return Step(state, row.name, f"{row.standing.value} ({row.how}), for {used_by}", more=tuple(more))
