"""The screen of `doctor`: named checks, and the first thing that mends."""

from __future__ import annotations

from collections.abc import Sequence

from backout.model.check import Check
from backout.render.layout import Place, Style, checks, hanging, page, tally


def screen(place: Place, found: Sequence[Check], *, style: Style, next: str = "", exit_code: int = 1) -> str:
    """One line a check; below the tally, what mends each check that is not good.

    `exit_code` is the command's when a check is not good.
    """
    lines = hanging("", str(place), style)
    lines += checks(found, style)
    mends = list(dict.fromkeys(check.mend for check in found if not check.good and check.mend))
    lines += tally(found, style, exit_code)
    for mend in mends[1:] if not next else mends:
        lines += hanging("also: ", mend, style)
    return page(lines, next or following(found), style)


def following(found: Sequence[Check]) -> str:
    """The next command: what mends the first check that is not good."""
    mends = [check.mend for check in found if not check.good and check.mend]
    if mends:
        return mends[0] if "backout doctor" in mends[0] else f"{mends[0]}, then: backout doctor"
    return "backout rehearse --last 1" if all(check.good for check in found) else "backout doctor"
