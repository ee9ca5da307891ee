"""Where dumps, manifests and bundles lie: bytes that outlive the command and that nobody else may read."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """Folders and files of backout, one folder a kind (`snapshots`, `bundles`, ...).

    Must: be private to the account of backout; write a file whole or not at all, durable when `write`
    returns; refuse a name that would leave the store. Errors: `errors.Stopped` when the disk refuses,
    `errors.UnknownName` for what is not there. A name that ends in `.part` is unfinished and may be
    removed by anyone who holds the lock of the state directory.
    """

    def directory(self, kind: str, name: str) -> Path:
        """The path of a folder of ours; its parent exists, the folder itself only when somebody made it."""
        ...

    def write(self, kind: str, name: str, content: bytes) -> Path: ...

    def read(self, kind: str, name: str) -> bytes: ...

    def names(self, kind: str) -> tuple[str, ...]:
        """What is finished, in order of its name."""
        ...

    def unfinished(self) -> tuple[Path, ...]:
        """What a killed command left behind, of every kind."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file or folder of the store, and look that it is gone. Idempotent."""
        ...

    def free_bytes(self) -> int:
        """Bytes that are free on the disk of the store."""
        ...
