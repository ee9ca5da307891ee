"""CPU seconds of a server with all its backends, read from /proc.

The kernel adds a backend's time to its postmaster when it ends, so the postmaster's own and reaped time
plus that of its living children is everything the server ever used. The resolution is one clock tick
(10 ms), which is why every measure below is made long enough, or many times.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

from backout.testing.servers import RealServer

_TICKS = os.sysconf("SC_CLK_TCK")
_PARENT, _USER, _REAPED_SYSTEM = 1, 11, 14
"""Fields of /proc/PID/stat behind the name of the program: ppid, utime, (stime, cutime,) cstime."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one piece of work cost: CPU seconds of the server and of the programs beside it."""

    server: float
    client: float
    peak_mib: float = 0.0
    """Largest resident memory of our own process."""

    @property
    def cpu(self) -> float:
        return self.server + self.client


def server_seconds(server: RealServer) -> float:
    """CPU seconds of this server since its start."""
    postmaster = (server.layout.data / "postmaster.pid").read_text().split(maxsplit=1)[0]
    ticks = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(entry)):
            if entry.name == postmaster:
                ticks += sum(map(int, fields[_USER : _REAPED_SYSTEM + 1]))
            elif fields[_PARENT] == postmaster:
                ticks += sum(map(int, fields[_USER : _USER + 2]))
    return ticks / _TICKS


def _stat(entry: Path) -> list[str]:
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended meanwhile
        return []


def children_seconds() -> float:
    """CPU seconds of all programs that this process has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_mib() -> float:
    """Largest resident memory of this process. Not `ru_maxrss`: that one starts with the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM in /proc/self/status")
