"""Judge snapshots: is one old enough to be from before a migration, fresh enough to act on; pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from backout.errors import Refused
from backout.model.check import Check, CheckState
from backout.model.loss import SchemaDifference
from backout.model.migration import History
from backout.model.snapshot import Scope, Snapshot, SnapshotKind
from backout.postgres.adopted import Adopted
from backout.postgres.physical.archiving import grant_to_switch

FRESH_SECONDS = 15 * 60.0
# Below this a whole copy is made in well under a minute; above it only the tables in reach are restored,
# beside a whole snapshot with an ID.
WHOLE_BELOW_BYTES = 1_000_000_000


def wants_radius(configured: str, size_bytes: int) -> bool:
    """Whether the proof covers the blast radius only: as configured, else by size."""
    if configured:
        return configured == "blast radius"
    return size_bytes > WHOLE_BELOW_BYTES


def is_fresh(snapshot: Snapshot, now: datetime) -> bool:
    """Whether nothing newer is needed right before execution."""
    return (now - datetime.fromisoformat(snapshot.taken_at)).total_seconds() < FRESH_SECONDS


def is_whole_since(snapshot: Snapshot, opened_at: str) -> bool:
    """Whether it covers the whole database and is younger than the incident."""
    covers = snapshot.scope is Scope.WHOLE or snapshot.kind is SnapshotKind.PROVIDER
    return covers and datetime.fromisoformat(snapshot.taken_at) >= datetime.fromisoformat(opened_at)


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


def not_in_wal(reason: str) -> Refused:
    """Why both sides of the migration cannot be restored; older snapshots may still do."""
    return Refused(
        f"the migration is not found in the WAL: {reason}",
        where="the WAL of the source",
        intact="everything",
        next="backout snapshot list",
    )


def not_archived_yet(late: str, role: str) -> Refused:
    """The WAL of the migration lies in a segment that is not full, and nobody here could close it."""
    return Refused(
        f"the migration is not in the archived WAL yet: {late}",
        where="the WAL of the source",
        intact="everything",
        next=f"as an administrator: {grant_to_switch(role)} then: backout propose",
    )


def dated(given: str, newest: str, changed: str) -> str:
    """How the age of an adopted backup is known."""
    seen = f"; the newest time stamp in it is {newest}" if newest else ""
    if given:
        return f"adopted, taken as a person said{seen}"
    return f"adopted, dated by its contents: {newest}" if newest else f"adopted, dated by its file: {changed}"


def adopted_checks(seen: Adopted, snapshot: Snapshot) -> tuple[Check, ...]:
    """What restoring an adopted backup showed."""
    head = snapshot.history_head or "no migration"
    left = f"; {seen.left_out} statements about owners and grants left out" if seen.left_out else ""
    return (
        Check("whole", CheckState.PASS, f"{seen.form.value}: restored to its last line{left}"),
        Check("history", CheckState.PASS, f"its newest migration is {head}"),
        Check("moment", CheckState.WARN, f"{snapshot.note}; never called exact"),
    )


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
