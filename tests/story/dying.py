"""`backout` in a process that is killed right before or right after one entry of its journal.

`python -m tests.story.dying before|after KIND KEY -- the command`, with the key as `plain` gives it.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import Any

from backout.cli import command_line
from backout.engine.journals import SqliteJournal
from backout.model.journal import Entry, EntryKind


def plain(key: str) -> str:
    """A key of a journal without its round, and without the number or the snapshot that it ends in."""
    return re.sub(r"^r\d+\.|\.(\d+|snap-\w+)$", "", key)


def main() -> None:
    when, kind, key, _, *command = sys.argv[1:]
    append = SqliteJournal.append

    def dying(
        self: SqliteJournal, incident: str, of: EntryKind, name: str, *rest: Any, **named: Any
    ) -> Entry:
        meant = (of.value, plain(name)) == (kind, key)
        if meant and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        entry = append(self, incident, of, name, *rest, **named)
        if meant:
            os.kill(os.getpid(), signal.SIGKILL)
        return entry

    SqliteJournal.append = dying  # type: ignore[assignment,method-assign]
    sys.exit(command_line(command))


if __name__ == "__main__":
    main()
