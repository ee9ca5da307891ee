"""One write as the application makes it, and who answered."""

from __future__ import annotations

import time

import psycopg

from backout.postgres.connect import Session
from backout.postgres.names import MESSAGE_PREFIX

_AGAIN_SECONDS = 0.05


def canary(new: Session, dsn: str, name: str, seconds: float) -> str:
    """Write through the lever (`dsn`) and look whether the side of session `new` answered; empty = it did.

    The write is a logical message: it leaves no row. Copies share the system identifier, so a server is
    known by when it was started.
    """
    from_new = new.execute("SELECT pg_catalog.pg_postmaster_start_time()::text").fetchone()
    until = time.monotonic() + seconds
    why = "it was not tried"
    while time.monotonic() < until:
        try:
            seen = _write_through(dsn, name)
        except psycopg.Error as error:
            why = str(error).strip().splitlines()[-1]
            time.sleep(_AGAIN_SECONDS)
            continue
        return "" if (seen,) == from_new else "another server than the new side answered"
    return f"no write in {seconds:.0f} s: {why}"


def _write_through(dsn: str, name: str) -> str:
    """Nothing is set on the session: behind a pooler its server connection is the application's next."""
    with psycopg.connect(
        dsn, application_name=name, connect_timeout=2, prepare_threshold=None, autocommit=True
    ) as session:
        session.execute("SELECT pg_catalog.pg_logical_emit_message(true, %s, 'canary')", (MESSAGE_PREFIX,))
        row = session.execute("SELECT pg_catalog.pg_postmaster_start_time()::text").fetchone()
    assert row is not None
    return str(row[0])
