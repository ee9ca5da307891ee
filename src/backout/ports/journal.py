"""The journal: the truth of an incident."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from backout.model.journal import Entry, EntryKind


class Journal(Protocol):
    """Append-only and hash-chained, one chain an incident.

    `append` must be durable when it returns, must give consecutive `seq`, and must refuse (raise
    `errors.Stopped`) when the entry cannot be written: a story that cannot record does not act.
    `read` must give the entries in order of `seq`. `verify` must raise `errors.TamperedJournal` when an
    entry was edited, deleted, swapped or cut off behind the last anchor.
    """

    def append(
        self,
        incident: str,
        kind: EntryKind,
        key: str,
        body: Mapping[str, Any],
        *,
        actor: str,
        attempt: int = 1,
    ) -> Entry: ...

    def read(self, incident: str, *, after: int = 0) -> tuple[Entry, ...]: ...

    def incidents(self) -> tuple[str, ...]:
        """Ids of all incidents and exercises, oldest first."""
        ...

    def verify(self, incident: str) -> Entry | None:
        """Check the chain; return its head."""
        ...
