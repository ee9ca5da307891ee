"""Stand in line for an advisory lock behind a session of ours, so that nobody gets it in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from backout.postgres.connect import Session

_LOOK_SECONDS = 0.05
_HOLDS = """SELECT EXISTS (
  SELECT FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
  WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND (l.granted OR NOT %(granted)s)
    AND a.application_name LIKE %(who)s
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                      WHERE d.datname = pg_catalog.current_database())
    AND ((l.classid::bigint << 32) | l.objid::bigint) = %(key)s)"""
_THERE = "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE application_name = %s)"


@contextmanager
def line(session: Session, key: int, behind: str) -> Iterator[None]:
    """As soon as a session named `behind` (LIKE) has the lock, queue for it; keep it until the block ends.

    Who waits gets it before anybody who asks later, and who only tries it is refused all the while. The
    session belongs to this block. A lost connection ends the line silently.
    """
    over = threading.Event()
    waiting = threading.Thread(target=_stand, args=(session, key, behind, over), daemon=True)
    waiting.start()
    try:
        yield
    finally:
        over.set()
        while waiting.is_alive():  # it may wait for the lock, or be about to
            with suppress(psycopg.Error):
                session.cancel_safe(timeout=1.0)
            waiting.join(_LOOK_SECONDS)


def await_line(session: Session, key: int, name: str, seconds: float) -> bool:
    """Return when the session called `name` has the lock or waits for it; at once when there is no such
    session, and after `seconds` in any case. Whether there is nothing left to wait for."""
    given_up = time.monotonic() + seconds
    with suppress(psycopg.Error):
        while not _holds(session, key, name, granted=False) and time.monotonic() < given_up:
            if session.execute(_THERE, (name,)).fetchone() != (True,):
                return True
            time.sleep(_LOOK_SECONDS / 5)
        return time.monotonic() < given_up
    return False


def _stand(session: Session, key: int, behind: str, over: threading.Event) -> None:
    # Without a timeout: between two tries the lock could be free, and nobody would wait for it.
    with suppress(psycopg.Error):
        session.execute("SELECT pg_catalog.set_config('lock_timeout', '0', false)")
        while not _holds(session, key, behind, granted=True):
            if over.wait(_LOOK_SECONDS):
                return
        session.execute("SELECT pg_catalog.pg_advisory_lock(%s)", (key,))
        over.wait()


def _holds(session: Session, key: int, who: str, *, granted: bool) -> bool:
    values = {"key": key, "who": who, "granted": granted}
    return session.execute(_HOLDS, values).fetchone() == (True,)
