"""The screens of the way back: how it stands, and that it was used."""

from __future__ import annotations

from datetime import datetime

from backout.model.restore import WayBackState, WentBack
from backout.render import words
from backout.render.layout import State, Step, Style, checks, hanging, page, steps


def screen(state: WayBackState, *, style: Style, next: str, now: datetime | None = None) -> str:
    """Armed until when, and what it costs meanwhile."""
    if not state.armed:
        return page(hanging("", "The way back is given up: nothing is retained for it.", style), next, style)
    good = state.health != "lost" and not state.expired
    told = f"until {words.when(state.until, now)}" + (", expired" if state.expired else "")
    more = (f"slot {state.slot}: {state.health}, retains {words.size(state.retained_bytes)} of WAL",)
    stands = Step(State.PASS if good else State.WARN, "armed", told, more=more)
    return page(steps([stands], style), next, style)


def used(went: WentBack, *, style: Style, next: str) -> str:
    """Where traffic is, and what became of the writes made on the new side."""
    fates, moved = went.fates, went.moved
    state = State.PASS if went.proof.complete else State.WARN
    lines = steps([Step(state, "traffic", f"to {moved.new}, writes held {moved.hold_ms:.0f} ms")], style)
    lines += checks([check for check in went.proof.checks if not check.good], style)
    lines += hanging(
        "",
        f"{words.plural(fates.total, 'write')} made on the new side: {words.fates(fates)}, 0 lost",
        style,
    )
    lines += hanging("", "The migration is live again; the new side is fenced.", style)
    return page(lines, next, style)
