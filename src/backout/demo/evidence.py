"""What backout's own journal says of the demo's incident: how far it came, figures, times."""

from __future__ import annotations

from datetime import datetime

from backout.app.aftermath import went_back
from backout.app.compose import Application
from backout.app.containment import holds
from backout.app.desk import Desk
from backout.demo.place import Place
from backout.model.execution import Execution, Outcome
from backout.model.gate import Proposals
from backout.model.journal import Entry, EntryKind
from backout.model.loss import DestroyedBy
from backout.model.repair import RepairDone
from backout.model.restore import RestoreDone


class _Silent:
    """A reader has nothing to tell."""

    def progress(self, text: str) -> None: ...

    def step_begins(self, key: str, attempt: int) -> None: ...

    def step_ends(self, key: str, outcome: str, seconds: float) -> None: ...

    def notice(self, text: str, audience: str, head: Entry) -> None: ...


class Evidence:
    """Reads the journal of one incident; begins and changes nothing."""

    def __init__(self, place: Place, incident: str) -> None:
        self.incident = incident
        self._desk = _desk(place)

    def proposed(self) -> bool:
        """Whether the newest round has a proposal that nobody has carried out."""
        return self._desk.result(self.incident, "strategy.propose", Proposals) is not None

    def running(self) -> bool:
        """Whether `run` was typed in the newest round."""
        return bool(self._desk.signals(self.incident, "go"))

    def execution(self) -> Execution | None:
        """The execution of the newest round."""
        return self._desk.result(self.incident, "execution.down", Execution)

    def repaired(self) -> RepairDone | None:
        """What the repair of the newest round did, where there was one."""
        return self._desk.result(self.incident, "lost_writes.repair", RepairDone)

    def restored(self) -> RestoreDone | None:
        """What the restore and the cutover of the newest round did, where there was one."""
        return self._desk.result(self.incident, "restore.done", RestoreDone)

    def to_accept(self, strategy: str) -> tuple[str, ...]:
        """What has to be accepted by name to approve this strategy."""
        proposals = self._desk.result(self.incident, "strategy.propose", Proposals)
        found = (p for p in proposals.proposals if p.strategy.value == strategy) if proposals else ()
        return next((p.accept_by_name for p in found), ())

    def backed_out(self) -> bool:
        """Whether the down happened."""
        done = self.execution()
        return done is not None and done.outcome is Outcome.BACKED_OUT

    def predicted(self) -> int:
        """Values that the approved proposal said the down would destroy."""
        proposals = self._desk.result(self.incident, "strategy.propose", Proposals)
        chosen = (
            next((p for p in proposals.proposals if p.strategy.value == "A"), None) if proposals else None
        )
        losses = chosen.loss if chosen else ()
        return sum(loss.values.count or 0 for loss in losses if loss.by is DestroyedBy.DOWN)

    def contained(self) -> bool:
        """Whether the ETL is held now."""
        return bool(holds(self._desk, self.incident))

    def contained_at(self) -> float | None:
        """When the ETL was first contained, seconds since the epoch."""
        times = [_seconds(e) for e in self._entries() if _finished(e, "contain.")]
        return times[0] if times else None

    def run_window(self) -> tuple[float, float] | None:
        """From the word to go, which comes before the permit, to the end of the execution and the repair."""
        number = self._desk.round(self.incident)
        begun = [_seconds(e) for e in self._entries() if e.key == f"r{number}.go"]
        last = (f"r{number}.execution.down", f"r{number}.lost_writes.repair")
        ended = [_seconds(e) for e in self._entries() if any(_finished(e, key) for key in last)]
        return (begun[0], ended[-1]) if begun and ended else None

    def went_back(self) -> bool:
        """Whether traffic left the restored instance again."""
        return went_back(self._desk, self.incident) is not None

    def way_back_window(self) -> tuple[float, float] | None:
        """From the signature to the end of the return, where there was one."""
        begun = [_seconds(e) for e in self._entries() if e.key.startswith("back.")]
        return (begun[0], begun[-1]) if begun and self.went_back() else None

    def _entries(self) -> tuple[Entry, ...]:
        return tuple(self._desk.app.journal.read(self.incident))


def incidents(place: Place) -> tuple[str, ...]:
    """The open incidents of the demo's journal, oldest first."""
    if not (place.state / "journal.db").exists():
        return ()
    desk = _desk(place)
    found = desk.app.journal.incidents()
    return tuple(i for i in found if i.startswith("inc-") and not desk.closed(i))


def _desk(place: Place) -> Desk:
    return Desk(Application(place.project / "backout.toml", place.state), "demo", _Silent())


def _finished(entry: Entry, prefix: str) -> bool:
    return entry.kind is EntryKind.FINISHED and entry.key.startswith(prefix)


def _seconds(entry: Entry) -> float:
    return datetime.fromisoformat(entry.at).timestamp()
