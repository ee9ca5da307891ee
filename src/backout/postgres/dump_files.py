"""The files of a dump: whole or not there, and nothing left of one whose backout was killed."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backout.errors import BackoutError, Refused, Stopped
from backout.postgres.manifest import NAME as MANIFEST
from backout.postgres.manifest import sync_directory

PART = ".part"
NOTHING_TAKEN = "the database; nothing was registered, the partial files were removed"
_PID = "pg_dump.pid"


@contextmanager
def appears_whole(directory: Path) -> Iterator[Path]:
    """A `.part` beside `directory` that takes its name at the end, or is removed."""
    part = directory.with_name(directory.name + PART)
    if (directory / MANIFEST).exists():
        raise Refused(
            "a finished snapshot of this name is there",
            where=str(directory),
            intact="it",
            next="backout snapshot list",
        )
    try:
        for leftover in (part, directory):
            discard(leftover)
        part.mkdir(mode=0o700, parents=True)
        yield part
        (part / _PID).unlink(missing_ok=True)
        sync_directory(part)
        part.rename(directory)
        sync_directory(directory.parent)
    except BaseException as error:
        _discard_after(part, error)
        if isinstance(error, OSError):
            raise not_written(str(directory), error.strerror or "") from None
        raise


def _discard_after(part: Path, error: BaseException) -> None:
    """Remove what is left; a failure of that is added to the first error, never put in its place."""
    try:
        discard(part)
    except BackoutError as second:
        error.add_note(second.what)


def not_written(where: str, reason: str) -> Stopped:
    return Stopped(
        f"the dump could not be written: {reason or 'the disk refused it'}",
        where=where,
        intact=NOTHING_TAKEN,
        next="free some space there (or set BACKOUT_STATE to another disk), then: backout resume",
    )


def note_pid(part: Path, pid: int) -> None:
    (part / _PID).write_text(str(pid))


def discard(directory: Path) -> None:
    """Remove an unfinished dump, and first end a pg_dump that still writes it (its backout was killed).

    Idempotent; raises `Stopped` when files are left.
    """
    if not directory.exists():
        return
    _end_orphan(directory)
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        raise Stopped(
            "the rest of an unfinished dump could not be removed",
            where=str(directory),
            intact="the database",
            next=f"rm -r {directory}, then the same command again",
        )


def _end_orphan(directory: Path) -> None:
    with suppress(OSError, ValueError):
        pid = int((directory / _PID).read_text())
        if str(directory).encode() not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return  # the number belongs to somebody else by now
        os.kill(pid, signal.SIGTERM)
        for _ in range(50):
            time.sleep(0.1)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)


def unfinished(parent: Path) -> tuple[Path, ...]:
    """Dumps below `parent` that never got their manifest: not registered, to be discarded."""
    if not parent.is_dir():
        return ()
    folders = (path for path in sorted(parent.iterdir()) if path.is_dir())
    return tuple(path for path in folders if not (path / MANIFEST).exists())


def bytes_in(directory: Path) -> int:
    """Bytes of all files below a directory, which may be growing."""
    total = 0
    for path in directory.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total
