"""Is a base backup what its manifest says: pg_verifybackup, and our own reading where that program dies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from backout.errors import Refused
from backout.model.check import Check, CheckState
from backout.postgres.binaries import Binaries
from backout.postgres.client import run_client
from backout.postgres.manifest import sha256_of

NAME = "backup_manifest"
# pg_verifybackup leaves these out too: recovery changes them, or they are covered by the WAL ranges.
_UNLISTED = frozenset({NAME, "postgresql.auto.conf", "recovery.signal", "standby.signal"})


def verify_backup(binaries: Binaries, data: Path) -> Check:
    """Read a plain base backup whole and compare it with its manifest.

    Raises `Refused` naming the file that is missing or differs. A pg_verifybackup that is killed by a signal
    or cannot be started has verified nothing (the one of 18.4 in a wheel dies at `--version`): every file is
    compared by us then, and the check says so.
    """
    program = Path(binaries.program("pg_verifybackup"))
    why = f"{program} is not there"
    if program.exists():
        ended = run_client([str(program), str(data)], {"LC_ALL": "C"})
        if ended.exit_code == 0:
            return Check("backup manifest", CheckState.PASS, "pg_verifybackup: backup successfully verified")
        if ended.exit_code > 0:
            raise _differs(data, ended.message)
        why = f"pg_verifybackup {ended.died}"
    count = _compare_all(data)
    _read_wal(binaries, data)
    detail = f"{why}; backout compared {count} files with the SHA-256 of the manifest: all equal"
    return Check("backup manifest", CheckState.WARN, detail, "install a pg_verifybackup that works")


def read_manifest(data: Path) -> Mapping[str, Any]:
    """The manifest of a base backup, its own checksum compared; raises `Refused`."""
    try:
        raw = (data / NAME).read_bytes()
    except OSError:
        raise _differs(data, f"it has no {NAME}") from None
    body, _, last = raw.rstrip(b"\n").rpartition(b"\n")
    if hashlib.sha256(body + b"\n").hexdigest().encode() not in last:
        raise _differs(data, f"the checksum of {NAME} itself does not hold")
    manifest: Mapping[str, Any] = json.loads(raw)
    return manifest


def require_files(data: Path) -> None:
    """The cheap part of the comparison: every file of the manifest is there and as long as it says.

    Raises `Refused` naming the first that is not. Whether a block of them was damaged, only reading tells.
    """
    for entry in read_manifest(data)["Files"]:
        path = _path_of(entry)
        if path not in _UNLISTED and not path.startswith("pg_wal/"):
            _require_file(data, path, entry["Size"])


def _require_file(data: Path, path: str, size: int) -> None:
    try:
        there = (data / path).stat().st_size
    except OSError:
        raise _differs(data, f'"{path}" is in the manifest but not on disk') from None
    if there != size:
        raise _differs(data, f'"{path}" has size {there} on disk but size {size} in the manifest')


def _compare_all(data: Path) -> int:
    listed = {_path_of(entry): entry for entry in read_manifest(data)["Files"]}
    # pg_combinebackup lists WAL too. It is recovery's to change; whether it can be read is looked at apart.
    listed = {path: entry for path, entry in listed.items() if not path.startswith("pg_wal/")}
    there = {path for path in _files(data) if not path.startswith("pg_wal/") and path not in _UNLISTED}
    for path in sorted(there | listed.keys()):
        if path not in there and path not in _UNLISTED:
            raise _differs(data, f'"{path}" is in the manifest but not on disk')
        if path not in listed:
            raise _differs(data, f'"{path}" is on disk but not in the manifest')
        if path not in _UNLISTED:
            _compare(data, path, listed[path])
    return len(listed)


def _path_of(entry: Mapping[str, Any]) -> str:
    if "Path" in entry:
        return str(entry["Path"])
    return bytes.fromhex(entry["Encoded-Path"]).decode("utf-8", "surrogateescape")


def _files(data: Path) -> Iterable[str]:
    return (str(path.relative_to(data)) for path in data.rglob("*") if path.is_file())


def _compare(data: Path, path: str, entry: Mapping[str, Any]) -> None:
    if entry.get("Checksum-Algorithm") != "SHA256":
        raise _differs(data, f'"{path}" has no SHA-256 in the manifest')
    _require_file(data, path, entry["Size"])
    if sha256_of(data / path) != entry["Checksum"]:
        raise _differs(data, f'checksum mismatch for file "{path}"')


def _read_wal(binaries: Binaries, data: Path) -> None:
    """The WAL that makes the backup consistent has to be readable from its first to its last record."""
    for part in read_manifest(data)["WAL-Ranges"]:
        arguments = [binaries.program("pg_waldump"), "--quiet", f"--path={data / 'pg_wal'}"]
        arguments += [f"--timeline={part['Timeline']}", f"--start={part['Start-LSN']}"]
        ended = run_client([*arguments, f"--end={part['End-LSN']}"], {"LC_ALL": "C"})
        if ended.exit_code != 0:
            raise _differs(data, f"its WAL cannot be read: {ended.message}")


def _differs(data: Path, why: str) -> Refused:
    return Refused(
        f"backup {data.parent.name} differs from its manifest: {why}",
        where=str(data),
        intact="the source; this backup is not used",
        next="use another backup, or take a new one: backout backup take --full",
    )
