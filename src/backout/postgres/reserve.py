"""Bytes that stay free on a disk that a production may share: a full disk there would be its end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from backout.errors import Stopped
from backout.ports.servers import SourceFacts

_GIGABYTE = 1 << 30


def reserve_bytes(directory: Path, source: SourceFacts) -> int:
    """Bytes to leave free in the file system of `directory`: max(10 %, 2 x max_wal_size, 5 GB) where a
    production on this machine has, or may have, its data; else 0."""
    if not source.on_this_machine:
        return 0
    place = next(path for path in (directory, *directory.parents) if path.exists())
    try:
        same = os.stat(source.data_directory).st_dev == place.stat().st_dev  # noqa: PTH116
    except OSError:
        same = True  # not to be seen by this role: assume the worse
    if not same:
        return 0
    return max(shutil.disk_usage(place).total // 10, 2 * source.max_wal_size_bytes, 5 * _GIGABYTE)


def keep_free(directory: Path, reserve: int, intact: str) -> Callable[[], None]:
    """A watch that raises `Stopped` as soon as less than `reserve` bytes are free; `intact` as in errors."""

    def look() -> None:
        free = shutil.disk_usage(directory).free
        if free < reserve:
            raise Stopped(
                f"only {free} bytes are free, {reserve} have to stay free beside the production",
                where=str(directory),
                intact=intact,
                next="free some space there (or set BACKOUT_STATE to another disk), then: backout resume",
            )

    return look
