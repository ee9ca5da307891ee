"""Files that hold values of rows: nobody else may read them, and each is whole or not there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from backout.errors import Stopped

_PART = ".part"


def private_directory(path: Path) -> Path:
    """`path` as a directory that only its owner may enter; raises `Stopped` when it cannot be one."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise _refused(path, error.strerror or "") from None
    return path


def write(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file with mode 0600, under another name until it is whole and was read back.

    Raises `Stopped` when the disk refuses or gives back something else; then nothing is left.
    """
    partial = path.with_name(path.name + _PART)
    try:
        partial.unlink(missing_ok=True)
        sent = hashlib.sha256()
        with open(partial, "xb", opener=_only_ours) as out:
            for piece in pieces:
                sent.update(piece)
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        with partial.open("rb") as back:
            found = hashlib.file_digest(back, "sha256")
        if found.digest() != sent.digest():
            raise _refused(path, "it does not read back as it was written")
        partial.replace(path)
    except OSError as error:
        raise _refused(path, error.strerror or "") from None
    finally:
        partial.unlink(missing_ok=True)


def _only_ours(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _refused(path: Path, why: str) -> Stopped:
    return Stopped(
        f"the file cannot be written: {why}",
        where=str(path),
        intact="the kept values; nothing half written was left",
        next="name another directory with --to, then the same command again",
    )
