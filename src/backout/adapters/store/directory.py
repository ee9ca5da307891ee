"""The store as a private directory of this machine."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from backout.errors import ConfigurationError, Stopped, UnknownName
from backout.postgres.dump_files import PART, discard, unfinished
from backout.postgres.manifest import sync_directory

SNAPSHOTS = "snapshots"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\Z")


class DirectoryStore:
    """Below `root`, one folder a kind; made with mode 0700 when first used."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        """Where it lies."""
        return self._root

    def directory(self, kind: str, name: str) -> Path:
        """The path of `name`; its parent is made. Raises `ConfigurationError` for a name with a path."""
        for part in (kind, name):
            if not _NAME.match(part) or part.endswith(PART):
                raise ConfigurationError(
                    f"{part!r} cannot be the name of something in the store",
                    where=str(self._root),
                    intact="everything; nothing was done",
                    next="backout snapshot list",
                )
        folder = self._root / kind
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(folder, error) from None
        return folder / name

    def write(self, kind: str, name: str, content: bytes) -> Path:
        """Write a file whole and durable. Raises `Stopped` when the disk refuses; then nothing is left."""
        path = self.directory(kind, name)
        partial = path.with_name(path.name + PART)
        try:
            with open(partial, "wb", opener=_private) as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
            sync_directory(path.parent)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise _refused(path, error) from None
        return path

    def read(self, kind: str, name: str) -> bytes:
        """The content of a file. Raises `UnknownName` when it is not there."""
        try:
            return self.directory(kind, name).read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            raise UnknownName(
                f"there is no {name} among the {kind} of the store",
                where=str(self._root),
                intact="everything",
                next="backout snapshot list",
            ) from None

    def names(self, kind: str) -> tuple[str, ...]:
        """Finished files and folders of a kind, in order."""
        folder = self._root / kind
        if not folder.is_dir():
            return ()
        left = {path.name for path in self.unfinished()}
        return tuple(sorted(path.name for path in folder.iterdir() if path.name not in left))

    def unfinished(self) -> tuple[Path, ...]:
        """Everything that ends in `.part`, and snapshots without a manifest."""
        if not self._root.is_dir():
            return ()
        parts = {path for path in self._root.glob(f"*/*{PART}")}
        return tuple(sorted(parts | set(unfinished(self._root / SNAPSHOTS))))

    def remove(self, path: Path) -> None:
        """Remove a file or folder of the store; first ends a pg_dump that still writes it."""
        if not path.is_relative_to(self._root) or path == self._root:
            raise ConfigurationError(
                f"{path} is not in the store",
                where=str(self._root),
                intact="everything; nothing was done",
                next="backout snapshot list",
            )
        if path.is_dir():
            discard(path)
        else:
            path.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Free bytes on the disk of the store (or of the place where it will be)."""
        there = next(path for path in (self._root, *self._root.parents) if path.exists())
        return shutil.disk_usage(there).free


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _refused(path: Path, error: OSError) -> Stopped:
    return Stopped(
        f"the store cannot be written: {error.strerror}",
        where=str(path),
        intact="everything; nothing half written was left",
        next="free some space (or set BACKOUT_STATE to another disk), then the same command again",
    )
