"""Is this transaction the migration's? Decided when it has committed, by everything it carries; pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backout.model.changes import Marker, Transaction

_LOW_HALF = 0xFFFFFFFF


class RecognisedBy(StrEnum):
    """What told the migration's transaction apart from the application's."""

    ORIGIN = "origin"
    MARKER = "marker"
    XID = "xid"


@dataclass(frozen=True, slots=True)
class Signs:
    """By what the migration's transactions are known; one that carries any of these is the migration's."""

    origins: frozenset[str] = frozenset()
    """Replication origins of the migration's sessions."""
    incidents: frozenset[str] = frozenset()
    """Values of `incident` in markers of kind `migration`."""
    xids: frozenset[int] = frozenset()
    """Ids of *top-level* transactions, 32 or 64 bits wide. The xmin of a history row may be a savepoint's,
    which never appears in the stream: resolve it first."""


def recognise(transaction: Transaction, signs: Signs) -> RecognisedBy | None:
    """What makes this the migration's transaction; None = it is the application's.

    Only for a whole transaction: the origin stands in its commit record, and a marker emitted inside a
    savepoint comes after changes made before it.
    """
    if transaction.origin is not None and transaction.origin in signs.origins:
        return RecognisedBy.ORIGIN
    if any(_is_migration(marker, signs.incidents) for marker in transaction.markers):
        return RecognisedBy.MARKER
    if transaction.xid in {xid & _LOW_HALF for xid in signs.xids}:
        return RecognisedBy.XID
    return None


def _is_migration(marker: Marker, incidents: frozenset[str]) -> bool:
    return marker.transactional and marker.kind == "migration" and marker.body.get("incident") in incidents
