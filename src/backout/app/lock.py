"""One worker at a time: the lock of the state directory, and who holds it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from backout.errors import Busy


@contextmanager
def worker(state: Path, verb: str, actor: str, patience: float = 0.2) -> Iterator[None]:
    """Hold the lock while a command advances a story; wait `patience` seconds for it.

    Raises `Busy` naming the holder. A killed holder leaves no lock: the kernel releases it.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(state / "lock")
    holder = state / "lock.holder"
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise Busy(
            f"another command is at work here: {_holder(holder)}",
            where=str(state),
            intact="everything; this command did nothing",
            next="backout status",
        ) from None
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        holder.write_text(json.dumps({"pid": os.getpid(), "verb": verb, "actor": actor, "since": since}))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return "it has not said who it is"
    return f"backout {found['verb']} by {found['actor']}, pid {found['pid']}, since {found['since']}"
