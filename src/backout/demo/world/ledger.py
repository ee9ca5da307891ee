"""The application's ledger: every acknowledged write, on disk before it counts, outside the database."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Entry = Mapping[str, Any]


class Ledger:
    """Append-only JSON lines. Clients that write at the same time share one fsync."""

    def __init__(self, path: Path) -> None:
        _cut_torn_line(path)
        self._file = path.open("ab", buffering=0)
        self._waiting: list[dict[str, Any]] = []
        self._collect = threading.Lock()
        self._flush = threading.Lock()

    def write(self, entry: Entry) -> None:
        """Add one entry; when this returns it is on disk, with the time at which it went there."""
        with self._collect:
            self._waiting.append(dict(entry))
        with self._flush:
            with self._collect:
                batch, self._waiting = self._waiting, []
            if not batch:  # the client before us took our entry along, and its fsync is over
                return
            at = time.time()
            lines = "".join(json.dumps({**one, "at": at}) + "\n" for one in batch)
            self._file.write(lines.encode())
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; every entry is on disk already."""
        self._file.close()


def _cut_torn_line(path: Path) -> None:
    """A killed application may leave half a line: never acknowledged, so it goes."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def entries(path: Path) -> Iterator[dict[str, Any]]:
    """All whole entries, oldest first; a torn last line was never acknowledged."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


def first_acknowledged(path: Path) -> float | None:
    """Time of the first acknowledged write, seconds since the epoch."""
    return next((float(entry["at"]) for entry in entries(path) if "table" in entry), None)
