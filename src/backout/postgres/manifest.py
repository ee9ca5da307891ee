"""The manifest of a dump: what it is of, what it holds, and the SHA-256 of every file; written last."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from backout.errors import BackoutError, Refused
from backout.ports.servers import SourceFacts
from backout.postgres.dump_stream import Contents
from backout.postgres.roles import Properties, Role
from backout.records import codec

NAME = "manifest.json"
VERSION = 1
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Origin:
    """Where and at which moment the dump's transaction snapshot was taken."""

    system_identifier: str
    timeline: int
    database: str
    role: str
    lsn: str
    """Insert position of the WAL read inside the transaction snapshot (replay position on a standby): the
    commits of everything in the dump lie before it."""
    lsn_before: str
    """Written position read before the transaction snapshot; between the two only `snapshot` decides."""
    snapshot: str
    """`pg_current_snapshot()`: the exact arbiter of what is inside."""
    from_standby: bool
    begun_at: str
    """RFC 3339, the server's clock."""
    lc_monetary: str
    data_checksums: bool
    facts: SourceFacts
    roles: tuple[Role, ...]
    properties: Properties


@dataclass(frozen=True, slots=True)
class DumpedFile:
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that is known of one dump. `excluded` = tables whose rows were left out, as SQL names."""

    version: int
    origin: Origin
    history_head: str
    """Newest migration in the history at that moment, as the caller read it."""
    client: str
    compression: str
    excluded: tuple[str, ...]
    globals_note: str
    contents: Contents
    files: tuple[DumpedFile, ...]
    finished_at: str

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files)


def list_files(directory: Path) -> tuple[DumpedFile, ...]:
    """Every file below `directory` but the manifest, with size and SHA-256, in order of its path."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != NAME)
    return tuple(
        DumpedFile(str(path.relative_to(directory)), path.stat().st_size, sha256_of(path)) for path in paths
    )


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write(directory: Path, manifest: Manifest) -> str:
    """Write the manifest durably, as the last file of the dump; returns its SHA-256."""
    text = json.dumps(codec.plain(manifest), ensure_ascii=True, indent=1, sort_keys=True).encode()
    partial = directory / f"{NAME}.part"
    with partial.open("wb") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(directory / NAME)
    sync_directory(directory)
    return hashlib.sha256(text).hexdigest()


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(directory: Path) -> Manifest:
    """The manifest as written; raises `Refused` when there is none or it cannot be read."""
    try:
        data = json.loads((directory / NAME).read_bytes())
        if data.get("version") != VERSION:
            raise ValueError(f"its version is {data.get('version')}")
        return codec.load_plain(Manifest, data)
    except FileNotFoundError:
        raise _not_whole(directory, "it has no manifest: it was never finished") from None
    except (OSError, ValueError, AttributeError, BackoutError) as error:
        raise _not_whole(directory, f"its manifest cannot be read ({error})") from None


def verify(directory: Path, sha256: str = "") -> Manifest:
    """Compare every file with the manifest, and the manifest with `sha256` when it is known.

    Raises `Refused` naming the first file that is missing, changed or not of this dump.
    """
    manifest = read(directory)
    if sha256 and sha256_of(directory / NAME) != sha256:
        raise _not_whole(directory, "its manifest is not the one that was recorded")
    recorded = {file.path: file for file in manifest.files}
    found = {file.path: file for file in list_files(directory)}
    for path in sorted(recorded.keys() | found.keys()):
        if path not in found:
            raise _not_whole(directory, f"{path} is missing")
        if path not in recorded:
            raise _not_whole(directory, f"{path} does not belong to it")
        if found[path] != recorded[path]:
            raise _not_whole(directory, f"{path} differs ({found[path].size} bytes of {recorded[path].size})")
    return manifest


def _not_whole(directory: Path, why: str) -> Refused:
    return Refused(
        f"snapshot {directory.name} differs from its manifest: {why}",
        where=str(directory),
        intact="the database; this snapshot is not used",
        next="backout snapshot take",
    )
