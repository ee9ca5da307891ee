"""Short waits for a lock, many of them: a long wait in the queue would stop everybody behind it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from backout.errors import LockNotGranted, NeighbourUnreachable, Refused
from backout.model.plan import Budgets
from backout.postgres.alone import LOCK_NOT_AVAILABLE, run_alone
from backout.postgres.asking import refusal
from backout.postgres.connect import Session

_PAUSE_FACTOR = 5.0
"""Pause at least this many times as long as the wait, so that the queue drains in between."""


@contextmanager
def told(next: str) -> Iterator[None]:
    """What the server answers unforeseen becomes an error that helps: gone, or refused with its words."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise NeighbourUnreachable(
            f"the server went away in the middle: {refusal(error)}",
            where="the target",
            intact="the application's data; what was armed is cleared by the next command",
            next=next,
        ) from None
    except psycopg.Error as error:
        raise Refused(
            f"the server refused: {refusal(error)}",
            where="the target",
            intact="the application's data",
            next=next,
        ) from None


@dataclass(frozen=True, slots=True)
class Patience:
    """How one statement of ours waits, and whom it tells."""

    budgets: Budgets
    tell: Callable[[str], None]
    next: str
    """What to type when it was in vain."""


_GONE = ("08", "57P")
"""Classes of SQLSTATEs: the connection, the server shutting down."""


def patiently(
    session: Session,
    statement: sql.Composed | sql.SQL,
    patience: Patience,
    holders: Callable[[], Sequence[str]],
    *,
    lock_timeout: float | None = None,
) -> None:
    """Send one statement until its lock is granted or patience ends.

    `lock_timeout` is for a wait that nobody stands behind. Raises `LockNotGranted` naming the holders, and
    `Refused` with the server's words when it fails otherwise.
    """
    text = statement.as_string(session)
    timeout = lock_timeout or patience.budgets.lock_timeout
    begun = time.monotonic()
    while True:
        one = run_alone(session, text, lock_timeout=timeout, statement_timeout=0)
        if one.sqlstate.startswith(_GONE):
            raise NeighbourUnreachable(
                f"the server went away in the middle: {one.error} ({one.sqlstate})",
                where=session.info.dbname,
                intact="the application's data; what was armed is cleared by the next command",
                next=patience.next,
            )
        session.execute("SELECT pg_catalog.set_config('search_path', 'pg_catalog', false)")
        if one.done:
            return
        if one.sqlstate != LOCK_NOT_AVAILABLE:
            raise Refused(
                f"{one.error} ({one.sqlstate}) in: {text[:200]}",
                where=session.info.dbname,
                intact="the application's data",
                next=patience.next,
            )
        _pause_or_give_up(text, time.monotonic() - begun, timeout, patience, tuple(holders()))


def _pause_or_give_up(
    text: str, waited: float, timeout: float, patience: Patience, held_by: tuple[str, ...]
) -> None:
    who = ", ".join(held_by) or "a session that is gone by now"
    pause = min(timeout * (_PAUSE_FACTOR + secrets.randbelow(1000) / 500), 3.0)
    if waited + pause > patience.budgets.lock_patience:
        raise LockNotGranted(
            f"not granted within {patience.budgets.lock_patience:g} s: {text[:120]}; held up by {who}",
            where="the target",
            intact="the application's data; what was armed before is dropped again",
            next=patience.next,
        )
    patience.tell(f"waits for {who}, {waited:.0f} s: {text[:80]}")
    time.sleep(pause)
