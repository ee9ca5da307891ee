"""What the file system can do for a copy, tried on a small file and never inferred from its name."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

_FICLONE = 0x40049409
"""Linux: make this file share the blocks of that one. Other systems answer with an error."""


def shares_blocks(file: Path, goal: Path) -> bool:
    """Whether a copy of `file` in the directory `goal` can share its blocks (xfs, btrfs; not ext4)."""
    return _works(file, goal, lambda source, copy: fcntl.ioctl(copy, _FICLONE, source))


def copies_ranges(file: Path, goal: Path) -> bool:
    """Whether the kernel copies parts of `file` into a file in `goal` by itself (copy_file_range)."""
    if not hasattr(os, "copy_file_range"):
        return False
    return _works(file, goal, lambda source, copy: os.copy_file_range(source, copy, 1))


def shares_blocks_within(directory: Path) -> bool:
    """The same for two files of one directory; of one that is not there yet, its nearest parent is tried."""
    place = next(path for path in (directory, *directory.parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".backout-") as file:
            file.write(bytes(4096))
            file.flush()
            return shares_blocks(Path(file.name), place)
    except OSError:
        return False


def _works(file: Path, goal: Path, attempt: Callable[[int, int], int]) -> bool:
    try:
        with file.open("rb") as source, tempfile.TemporaryFile(dir=goal) as copy:
            attempt(source.fileno(), copy.fileno())
    except OSError:
        return False
    return True
