"""What the next command of any kind finds of guards: dead and expired ones are cleared, sick ones said."""

from __future__ import annotations

from collections.abc import Iterator

from backout.app.desk import Desk
from backout.phases.guard import registry


def tidy(desk: Desk) -> Iterator[str]:
    """A line for each guard that was cleared or is not well; nothing is dropped under a command at work.

    While the journal knows no guard the database driver is not even imported.
    """
    there = [k for k in registry.known(desk.app.journal) if k.plan is not None and k.dropped is None]
    if not there:
        return
    from backout.app.guard import tidy_one

    for known in there:
        line = tidy_one(desk, known)
        if line:
            yield line
