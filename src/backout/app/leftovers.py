"""What the next command of any kind finds: guards that are dead, expired or sick, and expired ways back."""

from __future__ import annotations

from collections.abc import Iterator

from backout.app.desk import Desk
from backout.model.restore import RestoreDone
from backout.phases.guard import registry


def tidy(desk: Desk) -> Iterator[str]:
    """A line for each guard or way back that was cleared or is not well; nothing is dropped under a command
    at work.

    While the journal knows neither, the database driver is not even imported.
    """
    yield from _guards(desk)
    yield from _ways_back(desk)


def _ways_back(desk: Desk) -> Iterator[str]:
    """Expired ones of open incidents are given up; closing an incident gives its own up."""
    moved = [i for i in desk.open_here() if desk.result(i, "restore.done", RestoreDone) is not None]
    if not moved:
        return
    from backout.app.way_back import tidy_one

    for incident_id in moved:
        line = tidy_one(desk, incident_id)
        if line:
            yield line


def _guards(desk: Desk) -> Iterator[str]:
    there = [k for k in registry.known(desk.app.journal) if k.plan is not None and k.dropped is None]
    there = [k for k in there if desk.app.knows(k.target)]
    if not there:
        return
    from backout.app.guard import tidy_one

    for known in there:
        line = tidy_one(desk, known)
        if line:
            yield line
