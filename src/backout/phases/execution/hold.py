"""Hold the migration tool's own lock, so that its `up` refuses to run while the watch lives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backout.model.plan import Proposal
from backout.ports.world import World


@contextmanager
def migrations(world: World, proposal: Proposal, incident: str) -> Iterator[bool]:
    """A live session that holds the tool's advisory lock, where the tool has one (node-pg-migrate).

    Yields whether the lock is held. It ends with this process: afterwards only looking tells.
    """
    key = getattr(world.migrator, "advisory_lock_key", None)
    if key is None or proposal.lists_after:
        yield False
        return
    with world.databases.operate(f"backout/{incident}/hold") as session:
        row = session.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", (key,)).fetchone()
        yield bool(row and row[0])
