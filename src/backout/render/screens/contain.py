"""The screen of `contain` and `release`: what was stopped or started again, and what was seen afterwards."""

from __future__ import annotations

from backout.render.layout import State, Step, Style, page, steps

_STATES = {"contained": State.PASS, "ramping": State.PASS, "released": State.PASS}


def screen(name: str, state: str, detail: str, *, style: Style, next: str) -> str:
    """`state` is `contained`, `ramping`, `released` or what could not be told; `detail` is what was seen.

    A contained job stands on `status` with its age until it is released.
    """
    lines = steps([Step(_STATES.get(state, State.UNKNOWN), state, f"{name}: {detail}")], style)
    if state != "released":
        lines.append("It stands on `backout status` until it is released.")
    return page(lines, next, style)
