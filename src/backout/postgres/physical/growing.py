"""Say how far a restore has come, by what its directory holds; a thread that only looks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

EVERY_SECONDS = 10.0


@contextmanager
def telling(find: Callable[[], Path | None], whole: int, tell: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, tell every ten seconds how many bytes of `whole` (0 = nobody knows) lie in the
    directory that `find` gives; None = there is none yet."""
    over = threading.Event()
    begun = time.monotonic()

    def look() -> None:
        while not over.wait(EVERY_SECONDS):
            if (directory := find()) is not None:
                tell(progress(bytes_in(directory), whole, time.monotonic() - begun))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def progress(done: int, whole: int, seconds: float) -> str:
    """`1.2 of 3.4 GB after 20 s`, with what is left at this rate; `1.2 GB after 20 s` of an unknown whole."""
    if not whole:
        return f"{done / 1e9:.2f} GB after {seconds:.0f} s"
    left = seconds * (whole - done) / done if 0 < done < whole else 0.0
    told = f"{done / 1e9:.2f} of {whole / 1e9:.2f} GB after {seconds:.0f} s"
    return f"{told}, about {left:.0f} s left" if left else told


def bytes_in(directory: Path) -> int:
    """Bytes of the files below a directory that changes meanwhile."""
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - a hundred thousand files
            except OSError:
                continue
    return total
