"""Types the verbs of backout as child processes, and the scripts of the demo's team, as people would."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

from backout.demo.place import Place
from backout.demo.screen import Screen
from backout.demo.world.processes import Processes
from backout.demo.world.project import OPERATOR
from backout.errors import BackoutError, Stopped

_PATIENCE_SECONDS = 15.0


class VerbEnded(BackoutError):
    """A verb ended in another way than this story expects; `exit_code` is the verb's own."""

    def __init__(self, typed: str, code: int, next: str) -> None:
        super().__init__(
            f"`{typed}` ended with exit {code}",
            where="the demo; its own words stand above",
            intact="the story so far: the next demo goes on here, --fresh begins anew",
            next=next,
        )
        self.exit_code = code


class Typist:
    """One person at a terminal in the project's directory. A verb left by a killed demo is ended first."""

    def __init__(self, place: Place, processes: Processes, screen: Screen) -> None:
        self._place = place
        self._processes = processes
        self._screen = screen

    def verb(self, *words: str, expect: Sequence[int] = (0,), actor: str = OPERATOR) -> int:
        """Type `backout WORDS`; raises `VerbEnded` for an exit code that is not expected."""
        shown = f"backout {shlex.join(words)}"
        self._screen.typed(shown)
        child = subprocess.Popen(  # noqa: S603 - ourselves, no shell
            [sys.executable, "-m", "backout", *words],
            cwd=self._place.project,
            env=self._environment(actor),
            stdin=subprocess.DEVNULL,
            stdout=self._screen.out,
        )
        self._processes.remember("verb", child)
        try:
            code = child.wait()
        except KeyboardInterrupt:  # the terminal sent it to the verb too; let it stop before its next effect
            child.wait()
            raise Stopped(
                "the demo was stopped",
                where="the demo; the verb's own words stand above",
                intact="the story so far: the next demo goes on here",
                next=self._place.command(),
            ) from None
        self._processes.forget("verb")
        if code not in expect:
            raise VerbEnded(shown, code, self._place.command())
        return code

    def _environment(self, actor: str) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "BACKOUT_"))}
        for kept in ("BACKOUT_PG_BIN", "BACKOUT_NODE_MODULES"):
            if kept in os.environ:
                clean[kept] = os.environ[kept]
        return {**clean, "BACKOUT_STATE": str(self._place.state), "BACKOUT_ACTOR": actor}

    def script(self, *words: str) -> None:
        """Type one of the team's own commands, and show what it said; raises `VerbEnded`."""
        shown = shlex.join(words)
        self._screen.typed(shown)
        done = subprocess.run(  # noqa: S603 - the project's own script, no shell
            words, cwd=self._place.project, capture_output=True, text=True, timeout=60, check=False
        )
        self._screen.said(done.stdout + done.stderr)
        if done.returncode != 0:
            raise VerbEnded(shown, done.returncode, self._place.command())

    def end_orphan(self) -> bool:
        """End a verb that a killed demo left at work; asked first, to stop before its next effect."""
        return self._processes.end("verb", signal.SIGINT, _PATIENCE_SECONDS)
