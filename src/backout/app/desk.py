"""The desk at which one command works: incidents, their stories and signals."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from backout.app.compose import Application
from backout.engine.story import Story, Teller, current_round
from backout.errors import UnknownName
from backout.model.incident import Incident
from backout.model.journal import Entry, EntryKind
from backout.records import codec

T = TypeVar("T")

# Letters that cannot be taken for one another on a screen or over the phone.
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
INITIAL_NOTICE_WITHIN = timedelta(minutes=5)


class Desk:
    """One command's view of the journal. `actor` is written into every entry it makes."""

    def __init__(self, application: Application, actor: str, teller: Teller) -> None:
        self.app = application
        self.actor = actor
        self.teller = teller
        application.tell = teller.progress
        self._stop = False

    def ask_to_stop(self) -> None:
        """Stop before the next effect (Ctrl-C)."""
        self._stop = True

    def story(self, incident: str, prefix: str | None = None) -> Story:
        """A story of this incident; without prefix that of its newest round."""
        self.app.journal.verify(incident)
        chosen = prefix or f"r{self.round(incident)}"
        return Story(self.app.journal, incident, chosen, self.actor, self.teller, lambda: self._stop)

    def unstoppable_story(self, incident: str, prefix: str) -> Story:
        """A story that goes on although it was asked to stop: clearing up is what stopping means."""
        self.app.journal.verify(incident)
        return Story(self.app.journal, incident, prefix, self.actor, self.teller)

    def round(self, incident: str) -> int:
        """The newest round."""
        return current_round(self.app.journal.read(incident))

    def begin_round(self, incident: str, reason: str) -> int:
        """Open the next round; approvals of the old one are void with it."""
        number = self.round(incident) + 1
        self.record(incident, EntryKind.DECISION, f"r{number}.begin", {"reason": reason})
        return number

    def record(self, incident: str, kind: EntryKind, key: str, body: Mapping[str, Any]) -> Entry:
        """Append one entry."""
        return self.app.journal.append(incident, kind, key, body, actor=self.actor)

    def signal(self, incident: str, name: str, body: Mapping[str, Any]) -> Entry:
        """A word from a person, for the newest round."""
        return self.record(incident, EntryKind.SIGNAL, f"r{self.round(incident)}.{name}", body)

    def signals(self, incident: str, name: str) -> tuple[Entry, ...]:
        """All signals `name` of the newest round."""
        key = f"r{self.round(incident)}.{name}"
        return tuple(
            e for e in self.app.journal.read(incident) if e.kind is EntryKind.SIGNAL and e.key == key
        )

    def result(self, incident: str, key: str, returns: type[T]) -> T | None:
        """The recorded result of a step of the newest round."""
        return self.story(incident).result(key, returns)

    def newest(self, incident: str, keys: tuple[str, ...], returns: type[T]) -> T | None:
        """The first of these steps that has a result: the later one of a story is named first."""
        story = self.story(incident)
        found = (story.result(key, returns) for key in keys)
        return next((result for result in found if result is not None), None)

    def need(self, incident: str, key: str, returns: type[T]) -> T:
        """The same, where the story has certainly come this far."""
        found = self.result(incident, key, returns)
        if found is None:
            raise UnknownName(
                f"{incident} has not come to {key} yet",
                where=str(self.app.state),
                intact="everything; only the journal was read",
                next=f"backout status {incident}",
            )
        return found

    def incident(self, incident_id: str) -> Incident:
        """The incident of this id (an unambiguous beginning will do).

        Raises `UnknownName` with the ids there are.
        """
        known = self.app.journal.incidents()
        found = [i for i in known if i == incident_id] or [i for i in known if i.startswith(incident_id)]
        if len(found) != 1:
            what = f"no incident {incident_id!r}" if not found else f"{incident_id!r} names several incidents"
            near = ", ".join(known[-5:]) or "none yet; begin with: backout open"
            raise UnknownName(
                what,
                where=str(self.app.state),
                intact="everything; only the journal was read",
                next=f"known incidents: {near}",
            )
        for entry in self.app.journal.read(found[0]):
            if entry.key == "open" and not found[0].startswith("rst-"):
                return codec.load(Incident, entry.body)
        raise UnknownName(
            f"{found[0]} is an exercise or a restore, not an incident",
            where=str(self.app.state),
            intact="everything; only the journal was read",
            next="backout status",
        )

    def new_incident(
        self,
        target: str,
        environment: str,
        symptom: str,
        *,
        migrations: tuple[str, ...] = (),
        last: int = 0,
        alert: str = "",
        ticket: str = "",
        prefix: str = "inc",
    ) -> Incident:
        """A new incident (or, with prefix `exc`, an exercise), recorded with its first round."""
        now = datetime.now(UTC)
        number = "".join(secrets.choice(_ALPHABET) for _ in range(4))
        channel = f"#incident-db-migration-{now:%Y%m%dT%H%M%SZ}"
        opened_at = now.isoformat(timespec="seconds").replace("+00:00", "Z")
        incident = Incident(
            *(f"{prefix}-{number}", target, environment, opened_at, self.actor, symptom),
            *(migrations, last, channel, alert, ticket),
        )
        self.record(incident.id, EntryKind.DECISION, "open", codec.dump(incident))
        self.record(incident.id, EntryKind.DECISION, "r1.begin", {"reason": "opened"})
        return incident

    def open_incidents(self) -> tuple[str, ...]:
        """The ids of all incidents that are not closed."""
        return tuple(i for i in self.app.journal.incidents() if i.startswith("inc-") and not self.closed(i))

    def only_open_incident(self) -> str:
        """The id of this project's one incident that is not closed; `UnknownName` when it is not one."""
        ids = self.open_here()
        if len(ids) == 1:
            return ids[0]
        elsewhere = len(self.open_incidents()) - len(ids)
        named = f"backout status, then the same command with one of: {', '.join(ids)}"
        others = f" in this project; {elsewhere} in others" if elsewhere else ""
        raise UnknownName(
            f"no incident is open{others}" if not ids else "several incidents are open; name one",
            where=str(self.app.state),
            intact="everything; only the journal was read",
            next=named if ids else "backout open",
        )

    def open_here(self) -> tuple[str, ...]:
        """Those of them whose target this project has: one state directory may serve several."""
        return tuple(i for i in self.open_incidents() if self.app.knows(self.incident(i).target))

    def closed(self, incident_id: str) -> bool:
        """Whether the incident was closed."""
        return any(e.key == "close" for e in self.app.journal.read(incident_id))

    def reveal(self, incident_id: str, what: str) -> None:
        """Record that values of rows were shown to this actor."""
        self.record(incident_id, EntryKind.DECISION, "reveal", {"what": what})
