"""The screen of `postmortem`: what was written, from how much evidence, and what waits for people."""

from __future__ import annotations

from collections.abc import Sequence

from backout.render import words
from backout.render.layout import Style, hanging, page
from backout.render.postmortem import QUESTIONS, Postmortem
from backout.render.times import BACKED_OUT, BEGAN, DETECTED


def screen(written: Postmortem, paths: Sequence[str], *, style: Style, next: str = "nothing") -> str:
    """The times count from the begin of the fault; `paths` are the files that were written."""
    head = words.short_digest(written.head) or "none"
    lines = hanging(
        "", f"From {words.plural(written.entries, 'journal entry', 'journal entries')}, head {head}.", style
    )
    times = written.times
    measured = (
        ("detected", words.between(times.at(BEGAN), times.at(DETECTED))),
        ("backed out", words.between(times.at(BEGAN), times.at(BACKED_OUT))),
        ("tables locked", written.locked_seconds),
    )
    told = [f"{name} {'unknown' if value is None else words.duration(value)}" for name, value in measured]
    lines += hanging("  ", "   ".join([*told, f"lost {words.count(written.lost)}"]), style)
    marked = sum(bool(action.evidence) for action in written.actions)
    actions = f"{words.plural(len(written.actions), 'action')} proposed, {marked} marked by evidence"
    lines += hanging("  ", f"{actions}; {len(QUESTIONS)} questions wait for people", style)
    lines += hanging("Wrote ", " and ".join(paths), style)
    return page(lines, next, style)
