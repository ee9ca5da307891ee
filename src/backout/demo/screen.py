"""What the demo itself says between the verbs: comment lines with a clock, and what other programs said."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

WIDTH = 80


class Screen:
    """Prints to stdout; with --json to stderr, because stdout then belongs to the one document."""

    def __init__(self, as_json: bool, began: Callable[[], float | None] = lambda: None) -> None:
        self.out: TextIO = sys.stderr if as_json else sys.stdout
        self._began = began

    def clock(self) -> str:
        """Time since the first acknowledged write, as minutes and seconds."""
        began = self._began()
        seconds = int(time.time() - began) if began is not None else 0
        return f"{seconds // 60}:{seconds % 60:02}"

    def chapter(self, text: str) -> None:
        """A line that says what happens next, with the clock; an empty line before it."""
        print(f"\n# {self.clock()}  {text}", file=self.out, flush=True)

    def remark(self, text: str) -> None:
        """A line of explanation."""
        print(f"# {text}", file=self.out, flush=True)

    def typed(self, command: str) -> None:
        """The command line that a person types."""
        print(f"$ {command}", file=self.out, flush=True)

    def said(self, text: str) -> None:
        """What another program said, cut to the width of the screen."""
        for line in text.rstrip().splitlines():
            shown = line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."
            print(shown, file=self.out, flush=True)
