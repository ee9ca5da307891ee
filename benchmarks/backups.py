"""A base backup of backout's own, taken and verified, beside `cp -a` of the same files."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from backout.postgres.physical.base_backup import take
from backout.postgres.servers import private_directory
from benchmarks.cpu import children_seconds, server_seconds
from benchmarks.table import Line
from benchmarks.world import World

_NOT_COPIED = {"pg_wal", "postmaster.pid", "postmaster.opts"}
"""A backup brings the WAL of its own time only; how much lies in pg_wal is the server's affair."""
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class _Took:
    wall: float
    cpu: float


def lines(world: World) -> list[Line]:
    """Wall time is judged; a base backup is flushed to the disk and read back, `cp -a` is neither."""
    store = private_directory("bkbench")  # pg_verifybackup runs as the service user, who has to get there
    try:
        world.run("postgres", "CHECKPOINT")
        copied, flushed = _copy(world.server.layout.data, store / "copy")
        shutil.rmtree(store / "copy")
        taken, size = _take(world, store)
    finally:
        shutil.rmtree(store)
    floor = "cp -a"
    return [
        Line(
            f"base backup of {size // _MIB:,} MiB, taken and verified", taken.wall, "s", copied.wall, floor, 3
        ),
        Line("  beside a copy that is flushed", taken.wall, "s", flushed, "cp -a and fsync"),
        Line("  CPU", taken.cpu, "CPU s", copied.cpu, floor),
    ]


def _copy(data: Path, to: Path) -> tuple[_Took, float]:
    """What copying the files takes, and the wall seconds when they are flushed as well."""
    to.mkdir()
    files = [str(entry) for entry in data.iterdir() if entry.name not in _NOT_COPIED]
    used, begun = children_seconds(), time.monotonic()
    subprocess.run(["cp", "-a", *files, str(to)], check=True)  # noqa: S603, S607
    took = _Took(time.monotonic() - begun, children_seconds() - used)
    for path in to.rglob("*"):
        if path.is_file():
            _flush(path)
    return took, time.monotonic() - begun


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take(world: World, store: Path) -> tuple[_Took, int]:
    """What a backup takes, its server, its programs and this process together; and its bytes."""
    used, begun = _used(world), time.monotonic()
    taken = take(world.dsn("postgres"), store, "bench")
    return _Took(time.monotonic() - begun, _used(world) - used), taken.backup.size_bytes


def _used(world: World) -> float:
    return server_seconds(world.server) + children_seconds() + time.process_time()
