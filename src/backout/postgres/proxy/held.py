"""The locks on relations that the tool's transaction holds, as `pg_locks` shows them, and since when."""

from __future__ import annotations

import time
from collections.abc import Iterator

from backout.postgres.proxy.pipe import Pipe
from backout.postgres.proxy.seen import HeldLock
from backout.postgres.proxy.transaction import Transaction

# From 16384 on: the system's own tables are locked by every look at the catalog.
_QUERY = """SELECT l.relation::text, l.mode FROM pg_catalog.pg_locks l
WHERE l.locktype = 'relation' AND l.granted AND l.pid = pg_catalog.pg_backend_pid() AND l.relation >= 16384
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                    WHERE d.datname = pg_catalog.current_database())"""
_MODES = {
    "RowExclusiveLock": "ROW EXCLUSIVE",
    "ShareUpdateExclusiveLock": "SHARE UPDATE EXCLUSIVE",
    "ShareLock": "SHARE",
    "ShareRowExclusiveLock": "SHARE ROW EXCLUSIVE",
    "ExclusiveLock": "EXCLUSIVE",
    "AccessExclusiveLock": "ACCESS EXCLUSIVE",
}
"""Those of a session that writes, weakest first."""
_STRENGTH = {mode: strength for strength, mode in enumerate(_MODES.values())}
_FELT = _STRENGTH["SHARE"]
"""From here on somebody's INSERT waits."""


def look(pipe: Pipe, tx: Transaction, since: float) -> None:
    """Note what is held now; what was not there at the look before has been held since `since`
    (monotonic). A lock that a ROLLBACK TO gave back is forgotten."""
    rows = pipe.rows(_QUERY)
    found = [(int(oid or 0), _MODES[mode]) for oid, mode in rows if mode in _MODES]
    tx.held = {place: tx.held.get(place, since) for place in found}


def at_commit(tx: Transaction) -> tuple[HeldLock, ...]:
    """The strongest lock on each relation, and a weaker one where it was held for longer."""
    now = time.monotonic()
    return tuple(
        HeldLock(oid, mode, round(now - since, 4))
        for relation in sorted({oid for oid, _ in tx.held})
        for oid, mode, since in _telling(tx, relation)
    )


def _telling(tx: Transaction, relation: int) -> Iterator[tuple[int, str, float]]:
    of_it = [(mode, since) for (oid, mode), since in tx.held.items() if oid == relation]
    earliest = float("inf")
    for mode, since in sorted(of_it, key=lambda one: -_STRENGTH[one[0]]):
        if since < earliest:
            yield relation, mode, since
            earliest = since


def seconds_felt(tx: Transaction, locks: tuple[HeldLock, ...]) -> float:
    """The longest time for which somebody's write to a table of theirs had to wait; 0.0 = never."""
    felt = [one.seconds for one in locks if _STRENGTH[one.mode] >= _FELT and one.oid in tx.tables]
    return max(felt, default=0.0)
