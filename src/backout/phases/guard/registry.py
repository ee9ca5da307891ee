"""The guards that the journal knows: armed, half armed, dropped; read from its entries alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from backout.model.guard import CommandRun, Dropped, Guard, GuardPlan, Reach
from backout.model.incident import Incident
from backout.model.journal import Entry, EntryKind
from backout.ports.journal import Journal
from backout.records import codec

T = TypeVar("T")

PREFIX = "grd"
"""Ids of guards, as `inc` is of incidents."""
STORY = "guard.1"


@dataclass(frozen=True, slots=True)
class Known:
    """One guard and how far its story came. Without a plan nothing was ever touched."""

    id: str
    target: str
    begun_at: str
    plan: GuardPlan | None
    guard: Guard | None
    """Armed. None: it never finished."""
    command: CommandRun | None
    dropped: Dropped | None
    doomed: str
    """Why it has to go, where that was decided and not done yet."""

    @property
    def live(self) -> bool:
        """Armed, and not dropped by us."""
        return self.guard is not None and self.dropped is None

    @property
    def unfinished(self) -> bool:
        """It may have left something on a server: planned, neither armed nor dropped."""
        return self.plan is not None and self.guard is None and self.dropped is None


def known(journal: Journal) -> Iterator[Known]:
    """Every guard, newest first."""
    for name in reversed(journal.incidents()):
        if name.startswith(f"{PREFIX}-"):
            yield _read(name, journal.read(name))


def newest_guard(journal: Journal, target: str) -> Guard | None:
    """The newest guard of this target that is armed and not dropped, with the transactions it saw.

    What the journal says; whether its slot is still there only a look at the server tells.
    """
    return next((found.guard for found in known(journal) if found.live and found.target == target), None)


def _read(name: str, entries: Sequence[Entry]) -> Known:
    head = codec.load(Incident, entries[0].body)
    guard = _result(entries, "armed", Guard)
    xids = tuple(
        str(e.body["xid"])
        for e in entries
        if e.kind is EntryKind.DECISION and e.key.startswith(f"{STORY}.committed.")
    )
    demoted = {e.body["oid"] for e in entries if e.key.startswith(f"{STORY}.demoted.")}
    dooms = [str(e.body["reason"]) for e in entries if e.key == f"{STORY}.doomed"]
    return Known(
        *(name, head.target, head.opened_at, _result(entries, "plan", GuardPlan)),
        _as_it_stands(guard, xids, demoted) if guard is not None else None,
        _result(entries, "command", CommandRun),
        _result(entries, "dropped", Dropped),
        dooms[-1] if dooms else "",
    )


def _as_it_stands(guard: Guard, xids: tuple[str, ...], demoted: set[object]) -> Guard:
    """The armed record with what has become known since."""
    note = "it lost its replica identity after arming: inserts only from then on, so that updates go on"
    coverage = (
        replace(t, reach=Reach.INSERTS, full=False, note=note, demoted=True) if t.oid in demoted else t
        for t in guard.coverage
    )
    return replace(guard, xids=xids, coverage=tuple(coverage))


def _result(entries: Sequence[Entry], step: str, kind: type[T]) -> T | None:
    for entry in reversed(entries):
        if entry.kind is EntryKind.FINISHED and entry.key == f"{STORY}.{step}":
            return codec.load(kind, entry.body)
    return None
