"""What verification reads of the target."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class After:
    """The target after the run."""

    history_table: str
    still_applied: tuple[str, ...]
    """Migrations of the plan that the history lists (again)."""
    schema: str
    kept: tuple[tuple[str, int, int], ...]
    """(kept table, rows by the manifest, rows present)."""
    invalid: tuple[str, ...] = ()
    """Indexes that are invalid."""
