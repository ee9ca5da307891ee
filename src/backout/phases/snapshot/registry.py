"""The snapshots in the store: each directory holds its record and, when it was proven, its proof."""

from __future__ import annotations

import json
from pathlib import Path

from backout.errors import BackoutError
from backout.model.snapshot import Proof, Snapshot
from backout.records import codec

_SNAPSHOT = "snapshot.json"
_PROOF = "proof.json"


def write(directory: Path, snapshot: Snapshot) -> None:
    """Record a snapshot beside its files."""
    (directory / _SNAPSHOT).write_bytes(codec.canonical(codec.dump(snapshot)))


def write_proof(directory: Path, proof: Proof) -> None:
    """Record that it was proven."""
    (directory / _PROOF).write_bytes(codec.canonical(codec.dump(proof)))


def newest_first(root: Path) -> tuple[Snapshot, ...]:
    """All registered snapshots; a directory without a readable record is none."""
    found = [_read(path) for path in sorted(root.glob(f"*/{_SNAPSHOT}"))] if root.is_dir() else []
    return tuple(sorted((s for s in found if s is not None), key=lambda s: s.taken_at, reverse=True))


def _read(path: Path) -> Snapshot | None:
    try:
        return codec.load(Snapshot, json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, KeyError, BackoutError):
        return None


def proof_of(snapshot: Snapshot) -> Proof | None:
    """The proof of a snapshot, or None."""
    try:
        text = (Path(snapshot.directory) / _PROOF).read_text("utf-8")
        return codec.load(Proof, json.loads(text))
    except (OSError, ValueError, KeyError, BackoutError):
        return None
