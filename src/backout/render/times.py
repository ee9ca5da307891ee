"""The moments of an incident and the spans between them: computed from records, or unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backout.model.execution import Outcome
from backout.model.journal import Entry, EntryKind
from backout.render import words
from backout.render.known import Known


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment in RFC 3339, empty when it is not known, and how it is known."""

    what: str
    at: str
    note: str


@dataclass(frozen=True, slots=True)
class Times:
    """All moments, in the order in which they should come."""

    rows: tuple[Moment, ...]

    def at(self, what: str) -> str:
        """The moment called `what`; empty when it is not known."""
        return next((row.at for row in self.rows if row.what == what), "")


BEGAN, DETECTED, DECLARED, TOLD = "fault began", "detected", "declared", "first notice"
PROVEN, APPROVED, BACKED_OUT = "snapshot proven", "approved", "backed out"
VERIFIED, RESOLVED = "verified", "resolution sent"

# The incident field's names: to detect (TTD), to acknowledge (TTA), to mitigate (TTM), to resolve (TTR).
_SPANS = (
    ("To detect (TTD)", BEGAN, DETECTED),
    ("To declare (TTA)", BEGAN, DECLARED),
    ("To tell", BEGAN, TOLD),
    ("To mitigate (TTM)", BEGAN, BACKED_OUT),
    ("To resolve (TTR)", BEGAN, RESOLVED),
    ("Declared to approved", DECLARED, APPROVED),
    ("Declared to backed out", DECLARED, BACKED_OUT),
)


def times_of(known: Known, entries: Sequence[Entry], detected_at: str = "") -> Times:
    """The moments that records and journal tell; `detected_at` is when the alert fired."""
    done, committed = known.execution, known.triage.committed if known.triage else None
    backed_out = done is not None and done.outcome is Outcome.BACKED_OUT
    return Times(
        (
            Moment(BEGAN, (committed.at if committed else None) or "", committed.source if committed else ""),
            Moment(DETECTED, detected_at, "when the alert fired" if detected_at else "nobody recorded it"),
            Moment(DECLARED, known.incident.opened_at, "incident opened"),
            _entry(TOLD, entries, EntryKind.NOTICE, "", newest=False),
            Moment(PROVEN, known.proof.proven_at if known.proof else "", "proof of the snapshot"),
            _entry(APPROVED, entries, EntryKind.SIGNAL, "approval", newest=True),
            Moment(BACKED_OUT, done.committed_at if done and backed_out else "", "commit of the down"),
            Moment(VERIFIED, known.verification.at if known.verification else "", "end of the checks"),
            _entry(RESOLVED, entries, EntryKind.NOTICE, "resolution", newest=True),
        )
    )


def _entry(what: str, entries: Sequence[Entry], kind: EntryKind, name: str, *, newest: bool) -> Moment:
    found = [e for e in entries if e.kind is kind and e.key.endswith(name)]
    if not found:
        return Moment(what, "", "not in the journal")
    chosen = found[-1] if newest else found[0]
    return Moment(what, chosen.at, f"journal entry {chosen.seq}")


def spans(times: Times) -> tuple[tuple[str, float | None], ...]:
    """The spans in seconds; None where an end is not known or the moments are in the wrong order."""
    return tuple((name, words.between(times.at(begun), times.at(ended))) for name, begun, ended in _SPANS)
