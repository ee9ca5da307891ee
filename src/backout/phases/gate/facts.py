"""What the gate looks at right before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass

from backout.model.plan import PlannedMigration
from backout.model.target import TargetIdentity


@dataclass(frozen=True, slots=True)
class PresentState:
    """The perishable facts a proposal was bound to, read again."""

    identity: TargetIdentity
    is_copy: bool
    """The target carries our copy marker: never production."""
    schema_fingerprint: str
    migrations: tuple[PlannedMigration, ...]
    newer: tuple[str, ...]
    """Applied migrations that the proposal does not know."""
    tool: str
    environment_digest: str
    validation_digest: str
    allowed_signers_digest: str
    at: str
    """RFC 3339."""
