"""Where one demo lives: its server, its project, its people, its ledger, what it has done so far."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import backout
from backout.errors import Refused

_PACKAGE = Path(backout.__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Place:
    """The directories and files of one demo below `root`; nothing of it lies elsewhere, except that
    PostgreSQL's own files go where its account may enter them (see `world/production.py`)."""

    root: Path
    words: tuple[str, ...] = ()
    """What has to be typed after `demo` to come here again."""

    def command(self, *options: str) -> str:
        """How this demo is typed."""
        return command(*self.words, *options)

    @property
    def state(self) -> Path:
        """The state directory of backout: journal, snapshots, copies."""
        return self.root / "state"

    @property
    def project(self) -> Path:
        """The project of the people in the demo: migrations, backout.toml, their scripts."""
        return self.root / "project"

    @property
    def people(self) -> Path:
        """The keys of the demo's people."""
        return self.root / "people"

    @property
    def processes(self) -> Path:
        """One record for each process that the demo started, one log beside it."""
        return self.root / "processes"

    @property
    def control(self) -> Path:
        """Small files by which application and ETL are told what to do, and say what they did."""
        return self.root / "control"

    @property
    def ledger(self) -> Path:
        """Every acknowledged write, one JSON line each; outside the database."""
        return self.root / "ledger.jsonl"

    @property
    def story(self) -> Path:
        """How far the demo has come."""
        return self.root / "story.json"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One demo at a time; the kernel lets go of a killed one. Raises `Refused` while another one runs."""
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Refused(
                    "another demo is running here",
                    where=str(self.root),
                    intact="everything; this demo did nothing",
                    next=f"wait for it, or end it and go on where it was cut: {self.command()}",
                ) from None
            yield

    def make(self) -> Place:
        """Make the directories; private, because a password and keys lie in them."""
        self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        for directory in (self.project, self.people, self.processes, self.control):
            directory.mkdir(mode=0o700, exist_ok=True)
        return self


def find(name: str = "", *words: str) -> Place:
    """`.demo` in the checkout that this package runs from; without a checkout the user's state directory.

    `$BACKOUT_DEMO` beats both; `name` sets another demo beside the first, which is typed with `words`.
    """
    root = os.environ.get("BACKOUT_DEMO")
    base = Path(root).absolute() if root else _default()
    return Place(base / name if name else base, words)


def checkout() -> Path | None:
    """The checkout of backout that this package lies in, or None when it is installed."""
    root = _PACKAGE.parent.parent
    return root if (root / "run").is_file() and (root / "pyproject.toml").is_file() else None


def command(*options: str) -> str:
    """How the demo is typed here: by the launcher of a checkout, else by name."""
    return " ".join(("./run demo" if checkout() else "backout demo", *options))


def _default() -> Path:
    root = checkout()
    if root is not None:
        return root / ".demo"
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "backout-demo"
