"""Stand in line for an advisory lock behind a session of ours, so that nobody gets it in between."""

from __future__ import annotations

import threading
from contextlib import suppress

import psycopg

from backout.postgres.connect import Session

_LOOK_SECONDS = 0.05
_ASK_AGAIN = "500ms"


def stand_in_line(session: Session, key: int, behind: str, over: threading.Event) -> None:
    """Wait until a session named `behind` (LIKE) has the lock, queue for it, keep it until `over` is set.

    Who waits gets it before anybody who asks later, and who only tries it is refused all the while. A lost
    connection ends it silently.
    """
    with suppress(psycopg.Error):
        session.execute("SELECT pg_catalog.set_config('lock_timeout', %s, false)", (_ASK_AGAIN,))
        while not over.wait(_LOOK_SECONDS):
            if _has_it(session, key, behind):
                break
        while not over.is_set():
            with suppress(psycopg.errors.LockNotAvailable):
                session.execute("SELECT pg_catalog.pg_advisory_lock(%s)", (key,))
                over.wait()


def _has_it(session: Session, key: int, behind: str) -> bool:
    row = session.execute(
        """SELECT EXISTS (
             SELECT 1 FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.application_name LIKE %s
               AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                                 WHERE d.datname = pg_catalog.current_database())
               AND ((l.classid::bigint << 32) | l.objid::bigint) = %s)""",
        (behind, key),
    ).fetchone()
    return bool(row and row[0])
