"""Judge snapshots: is one old enough to be from before a migration, fresh enough to act on; pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from backout.model.check import Check, CheckState
from backout.model.loss import SchemaDifference
from backout.model.migration import History
from backout.model.snapshot import Snapshot

FRESH_SECONDS = 15 * 60.0


def is_fresh(snapshot: Snapshot, now: datetime) -> bool:
    """Whether nothing newer is needed right before execution."""
    return (now - datetime.fromisoformat(snapshot.taken_at)).total_seconds() < FRESH_SECONDS


def is_before(history_head: str, history: History, offending: str) -> bool:
    """Whether a dump with this newest migration holds the state before `offending` was applied.

    A head that the history does not know (any more) says nothing: not before.
    """
    positions = {row.name: row.position for row in history.rows}
    if offending not in positions:
        return False
    if not history_head:
        return positions[offending] == 1
    return history_head in positions and positions[history_head] < positions[offending]


def schema_check(found: Sequence[SchemaDifference]) -> Check:
    """The copy's schema against the source's: a copy with another schema proves and rehearses another
    database."""
    if not found:
        return Check("schema", CheckState.PASS, "the copy's schema equals the source's")
    first = "; ".join(f"{d.object} {d.change}" for d in found[:3])
    return Check(
        "schema",
        CheckState.FAIL,
        f"{len(found)} differences: {first}",
        "take the snapshot again; nobody may migrate",
    )
