"""An incident: what `open` begins."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Incident:
    """The head record of an incident; everything later is in its journal."""

    id: str
    target: str
    environment: str
    opened_at: str
    opened_by: str
    symptom: str
    migrations: tuple[str, ...]
    """Named by the operator (`--migration`), or empty when `--last N` was asked for."""
    last: int
    """`--last N`; 0 when migrations were named."""
    channel: str
    """Channel name, `#incident-db-migration-<timestamp>`."""
    alert: str = ""
    ticket: str = ""
