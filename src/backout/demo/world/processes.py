"""The processes that the demo starts: recorded, so that the next one finds what a killed one left."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from backout.demo.world import control
from backout.demo.world.control import wait_until

_ours: dict[int, subprocess.Popen[bytes]] = {}


class Processes:
    """The processes of one demo, each under a name, recorded as files in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def start(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], account: str = ""
    ) -> None:
        """Start a process that outlives us; its output goes to `<name>.log`.

        `account`: whom it runs as, where that is somebody else; only root can say so.
        """
        entry = pwd.getpwnam(account) if account else None
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - programs of the demo, no shell
                list(arguments),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=entry.pw_uid if entry else None,
                group=entry.pw_gid if entry else None,
                extra_groups=[] if entry else None,
            )
        self.remember(name, child)

    def remember(self, name: str, child: subprocess.Popen[bytes]) -> None:
        """Record a child. Its start time tells it from another process that gets its number later."""
        _ours[child.pid] = child
        control.write(self._record(name), {"pid": child.pid, "began": _began(child.pid)})

    def forget(self, name: str) -> None:
        """Drop the record of a process that has ended."""
        self._record(name).unlink(missing_ok=True)

    def log(self, name: str) -> Path:
        """Where the output of `name` goes."""
        return self._directory / f"{name}.log"

    def lives(self, name: str) -> bool:
        """Whether the recorded process still runs."""
        record = control.read(self._record(name))
        return bool(record) and _lives(int(record["pid"]), str(record["began"]))

    def end(self, name: str, first: signal.Signals = signal.SIGTERM, patience: float = 10.0) -> bool:
        """Ask the process to end, and end it when it does not; True when there was one."""
        record = control.read(self._record(name))
        was_there = self.lives(name)
        for number, seconds in ((first, patience), (signal.SIGKILL, 5.0)):
            if not self.lives(name):
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(record["pid"]), number)
            wait_until(lambda: not self.lives(name), seconds)
        self.forget(name)
        return was_there

    def _record(self, name: str) -> Path:
        return self._directory / f"{name}.json"


def _lives(pid: int, began: str) -> bool:
    child = _ours.get(pid)
    if child is not None:
        return child.poll() is None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # somebody else's by now
    return _began(pid) == began


def _began(pid: int) -> str:
    """When the kernel started this process, in its ticks; empty for a zombie or where it does not say."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else fields[18]
