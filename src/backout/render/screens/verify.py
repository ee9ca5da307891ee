"""The screen of `verify`: every check of the approved plan, unknown never counted as passed."""

from __future__ import annotations

from datetime import datetime

from backout.model.execution import Verification, Watch
from backout.render.layout import Style, checks, page, tally
from backout.render.screens.watch import watch_lines


def screen(
    verification: Verification,
    watch: Watch | None,
    *,
    style: Style,
    next: str,
    now: datetime | None = None,
) -> str:
    """One line a check, the tally, and what the watch saw when there was one."""
    lines = checks(verification.checks, style)
    lines += watch_lines(watch, style, now) if watch else []
    lines += tally(verification.checks, style)
    return page(lines, next, style)
