"""The screen of a watch: did the migration come back? If it did, this is an alarm."""

from __future__ import annotations

from datetime import datetime

from backout.model.execution import Watch
from backout.render import words
from backout.render.layout import Place, State, Style, hanging, page


def screen(
    place: Place, incident_id: str, watch: Watch, *, style: Style, now: datetime | None = None, next: str = ""
) -> str:
    """The end of a watch window, or the alarm."""
    lines = hanging("", str(place), style)
    lines += watch_lines(watch, style, now)
    command = f"backout postmortem {incident_id}"
    if watch.came_back:
        command = "stop whatever applies migrations at start, then: backout open --last 1"
    return page(lines, next or command, style)


def watch_lines(watch: Watch, style: Style, now: datetime | None = None) -> list[str]:
    """What the watch saw, and who holds the migration now."""
    if watch.came_back is not None:
        return _alarm(watch, style, now)
    span = f"{words.duration(watch.seconds)}, {watch.samples:,} looks"
    if watch.stopped_early:
        text = f"stopped after {span}; nobody holds the migration now"
        return hanging(f"  {style.symbol(State.WARN)} watch       ", text, style)
    return hanging(
        f"  {style.symbol(State.PASS)} watch       ", f"{span}: the migration did not come back", style
    )


def _alarm(watch: Watch, style: Style, now: datetime | None = None) -> list[str]:
    sample = watch.came_back
    assert sample is not None
    who = sample.came_back_by or "by a session that nobody saw"
    lines = hanging(
        f"  {style.symbol(State.FAIL)} CAME BACK   ", f"{words.when(sample.at, now)}, applied {who}", style
    )
    history = "has it again" if sample.history_has_it else "does not have it"
    schema = "equals the expected one" if sample.schema_equal else "differs from the expected one"
    lines += hanging(" " * 16, f"the history {history}; the schema {schema}", style)
    lines += hanging(" " * 16, "kept values are untouched; do not put them back now", style)
    return lines
