"""What the later phases need of a proven snapshot."""

from __future__ import annotations

from dataclasses import dataclass

from backout.model.snapshot import Proof, Snapshot


@dataclass(frozen=True, slots=True)
class Proven:
    """A snapshot with its proof, and where the restored copy stands (the rehearsal runs on clones of it)."""

    snapshot: Snapshot
    proof: Proof


@dataclass(frozen=True, slots=True)
class Found:
    """A snapshot that was looked for, or None."""

    snapshot: Snapshot | None
