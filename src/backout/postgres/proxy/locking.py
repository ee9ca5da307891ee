"""Wait for a lock in short tries: a long wait in the queue would stop every reader behind it."""

from __future__ import annotations

import secrets
import time

from backout.postgres.proxy.pipe import InjectionFailed, Meanwhile, Pipe
from backout.postgres.proxy.policy import LockWait, Policy
from backout.postgres.proxy.transaction import KEEP, LOCK_NOT_AVAILABLE, NotLet

_PAUSE_FACTOR = 5.0
"""Pause at least this many times as long as the wait, so that the queue drains in between."""
_DEADLOCK = "40P01"


def lock(pipe: Pipe, policy: Policy, statement: str, patience: float) -> tuple[float, float]:
    """Run `statement` (a LOCK TABLE) as soon as all its locks are granted; the moment of it (monotonic) and
    the seconds it was waited for: 0.0 when it was granted before anybody asked who stands in the way.

    Raises `NotLet` when `patience` (seconds) is over, all tries are used, or the caller says stop. Between
    two tries no lock of ours is held: each try is in a savepoint. Nothing here takes a snapshot.
    """
    waiter = _Waiter(pipe, policy)
    begun = time.monotonic()
    attempt = 0
    while True:
        attempt += 1
        pipe.inject([("SAVEPOINT backout_lock", ())])
        try:
            watch = Meanwhile(policy.budgets.lock_timeout / 2, waiter.look)
            pipe.inject([(statement, ())], meanwhile=watch)
        except InjectionFailed as failure:
            if failure.sqlstate not in (LOCK_NOT_AVAILABLE, _DEADLOCK):
                raise NotLet("keep", KEEP, f"the tables cannot be locked: {failure}") from None
        else:
            granted = time.monotonic()
            pipe.inject([("RELEASE SAVEPOINT backout_lock", ())])
            return granted, granted - begun if waiter.asked else 0.0
        pipe.inject([("ROLLBACK TO SAVEPOINT backout_lock", ()), ("RELEASE SAVEPOINT backout_lock", ())])
        _wait(pipe, policy, LockWait(attempt, time.monotonic() - begun, waiter.holders), patience)


def _wait(pipe: Pipe, policy: Policy, seen: LockWait, patience: float) -> None:
    stop = policy.on_wait(seen)
    pause = policy.budgets.lock_timeout * (_PAUSE_FACTOR + secrets.randbelow(1000) / 500)
    if stop is None and seen.waited + pause > patience:
        stop = f"not granted within {patience:g} s"
    if stop is None and policy.budgets.tried_enough(seen.attempt):
        stop = "no more are allowed"
    if stop is not None:
        holders = ", ".join(map(str, seen.holders)) or "unknown"
        tries = "1 try" if seen.attempt == 1 else f"{seen.attempt} tries"
        detail = f"the lock was not to be had in {tries}: {stop} (held by pid {holders})"
        raise NotLet("lock_timeout", LOCK_NOT_AVAILABLE, detail)
    pipe.idle(pause)


class _Waiter:
    """Asks the caller's observer who holds the lock, in the middle of a try."""

    def __init__(self, pipe: Pipe, policy: Policy) -> None:
        self._pipe = pipe
        self._policy = policy
        self.holders: tuple[int, ...] = ()
        self.asked = False

    def look(self) -> None:
        self.asked = True
        self.holders = self._policy.blockers(self._pipe.server_pid)
