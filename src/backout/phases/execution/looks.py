"""Looks at the target that both ways of carrying out a plan share: orphans, blockers, kept values."""

from __future__ import annotations

import time

from backout.errors import BackoutError, Stopped
from backout.model.execution import KeptColumn
from backout.model.plan import Proposal
from backout.phases.execution.facts import KeptValues
from backout.ports.run import Run
from backout.ports.world import World
from backout.postgres import activity, kept
from backout.postgres.proxy.policy import LockWait

_ORPHAN_SECONDS = 30.0


def blockers(world: World, pid: int, name: str) -> tuple[int, ...]:
    """Who stands in the way of this backend; empty when that cannot be asked."""
    try:
        with world.databases.observe(name) as session:
            return activity.blocking(session, pid)
    except BackoutError:
        return ()


def told(run: Run, wait: LockWait) -> str | None:
    """Tell the person at the terminal who holds the lock; never stops the waiting."""
    holders = ", ".join(f"pid {pid}" for pid in wait.holders) or "a session that is gone by now"
    run.progress(f"waits for a lock, try {wait.attempt}, {wait.waited:.0f} s; held by {holders}")
    return None


def end_orphans(run: Run, world: World, proposal: Proposal) -> None:
    """A killed client does not stop its server session: end ours, and wait until none is left."""
    pattern = f"backout/{proposal.incident}/%"
    begun = time.monotonic()
    while True:
        with world.databases.operate("backout/look") as session:
            left = activity.sessions_named(session, pattern)
            if not left:
                return
            run.progress(f"ending {len(left)} session(s) of an earlier attempt")
            activity.end_own_sessions(session, pattern)
        if time.monotonic() - begun > _ORPHAN_SECONDS:
            raise Stopped(
                f"a session of an earlier attempt does not end: pid {left[0]}",
                where=world.target,
                intact="unknown until it has ended",
                next=f"backout resume {proposal.incident}",
            )
        time.sleep(0.2)


def kept_values(world: World, proposal: Proposal, name: str) -> KeptValues:
    """Every kept column, and the values as the commit gate counted them inside the down's transaction:
    destroyed where they were, kept where they are."""
    with world.databases.operate(name) as session:
        tables = kept.tables(session, proposal.incident)
        columns = tuple(
            KeptColumn(
                *(table.relation, column, values, table.rows, table.key, table.lsn),
                f"backout_kept.{table.table}",
            )
            for table in tables
            for column, values in kept.values_of(session, table)
        )
    return KeptValues(columns, sum(t.destroyed for t in tables), sum(t.values for t in tables))
