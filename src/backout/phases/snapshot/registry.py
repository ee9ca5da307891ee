"""The snapshots in the store: beside each directory its record and, when it was proven, its proof."""

from __future__ import annotations

import json
from pathlib import Path

from backout.errors import BackoutError
from backout.model.snapshot import Proof, Snapshot
from backout.records import codec

_SNAPSHOT = ".snapshot.json"
_PROOF = ".proof.json"


def write(root: Path, snapshot: Snapshot) -> None:
    """Record a snapshot beside the directory of its files (what is inside belongs to its manifest)."""
    _path(root, snapshot.id, _SNAPSHOT).write_bytes(codec.canonical(codec.dump(snapshot)))


def write_proof(root: Path, proof: Proof) -> None:
    """Record that it was proven."""
    _path(root, proof.snapshot, _PROOF).write_bytes(codec.canonical(codec.dump(proof)))


def _path(root: Path, identifier: str, suffix: str) -> Path:
    """IDs of providers hold all kinds of characters; a file name does not."""
    plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in identifier)[:100]
    return root / f"{plain}{suffix}"


def newest_first(root: Path) -> tuple[Snapshot, ...]:
    """All registered snapshots; what cannot be read is none."""
    found = [_read(path) for path in root.glob(f"*{_SNAPSHOT}")] if root.is_dir() else []
    return tuple(sorted((s for s in found if s is not None), key=lambda s: s.taken_at, reverse=True))


def _read(path: Path) -> Snapshot | None:
    try:
        return codec.load(Snapshot, json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, KeyError, BackoutError):
        return None


def proof_of(root: Path, identifier: str) -> Proof | None:
    """The proof of a snapshot, or None."""
    try:
        text = _path(root, identifier, _PROOF).read_text("utf-8")
        return codec.load(Proof, json.loads(text))
    except (OSError, ValueError, KeyError, BackoutError):
        return None


def forget(root: Path, identifier: str) -> None:
    """Remove the records of a snapshot whose files are gone."""
    for suffix in (_SNAPSHOT, _PROOF):
        _path(root, identifier, suffix).unlink(missing_ok=True)
