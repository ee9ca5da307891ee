"""What is read before a restore is offered."""

from __future__ import annotations

from dataclasses import dataclass

from backout.model.check import Check


@dataclass(frozen=True, slots=True)
class Ground:
    """The old side as a restore would leave it behind."""

    standbys: tuple[str, ...]
    synchronous: str
    archiving: bool
    slots: tuple[str, ...]
    """Replication slots that are not ours."""
    subscriptions: tuple[str, ...]
    preloaded: tuple[str, ...]
    cron_jobs: int | None
    """None: the role may not read them."""
    schema: str
    """Digest of the schema, as the gate compares it."""
    lever: tuple[Check, ...]
    """Red and yellow ones of the traffic lever."""
    extensions_missing: tuple[str, ...]
    """Extensions of the restored database whose files are not on this machine."""
    new_schema: str
    """Digest of the restored schema."""
    history: tuple[str, ...]
    """Migrations that the restored history lists."""
