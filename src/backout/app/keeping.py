"""How old kept values are and how long they are wanted, from the journal alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from backout.app.compose import Application
from backout.app.desk import Desk
from backout.app.results import KeptAge
from backout.errors import BackoutError
from backout.model.execution import Execution
from backout.model.journal import Entry, EntryKind
from backout.records import codec


def ages(desk: Desk) -> tuple[KeptAge, ...]:
    """What is still kept, of closed incidents too, the oldest first; read from the journal alone."""
    found = (age(desk, i) for i in desk.app.journal.incidents() if i.startswith("inc-"))
    return tuple(sorted((a for a in found if a is not None), key=lambda a: a.kept_at))


def age(desk: Desk, incident_id: str) -> KeptAge | None:
    """The age of what this incident keeps; None when it keeps nothing, or nothing any more."""
    entries = desk.app.journal.read(incident_id)
    done = _carried_out(entries)
    if done is None or not done.values_kept or _dropped(entries):
        return None
    since = datetime.fromisoformat(done.committed_at)
    until = since + timedelta(seconds=_retention(desk.app))
    return KeptAge(
        *(incident_id, desk.incident(incident_id).target, done.values_kept, done.committed_at),
        *(until.isoformat(timespec="seconds"), until <= datetime.now(UTC)),
    )


def _carried_out(entries: Sequence[Entry]) -> Execution | None:
    for entry in reversed(entries):
        if entry.kind is EntryKind.FINISHED and entry.key.endswith(".execution.down"):
            return codec.load(Execution, entry.body)
    return None


def _dropped(entries: Sequence[Entry]) -> bool:
    return any(e.kind is EntryKind.FINISHED and e.body.get("type") == "KeptDropped" for e in entries)


def _retention(app: Application) -> float:
    """The configured retention; the default where no configuration can be read (`status` needs none)."""
    try:
        return app.settings.kept.retention
    except BackoutError:
        return 90 * 86400.0
