"""A named place in the WAL, and whether the archive has it."""

from __future__ import annotations

import time

import psycopg

from backout.model.guard import RestorePoint
from backout.postgres.asking import refusal
from backout.postgres.connect import Session

_ARCHIVE_SECONDS = 10.0


def make(session: Session, name: str, *, switch: bool) -> RestorePoint:
    """Write the restore point, end its segment where the role may, and wait a little for the archive."""
    row = session.execute(
        """SELECT lsn::text, pg_catalog.pg_walfile_name(lsn)
           FROM pg_catalog.pg_create_restore_point(%s) AS lsn""",
        (name,),
    ).fetchone()
    assert row is not None
    if not switch:
        return RestorePoint(name, row[0], "the segment was not ended: it reaches the archive when it is full")
    try:
        session.execute("SELECT pg_catalog.pg_switch_wal()")
    except psycopg.Error as error:
        return RestorePoint(name, row[0], f"the segment could not be ended: {refusal(error)}")
    return RestorePoint(name, row[0], _archived(session, row[1]))


def _archived(session: Session, segment: str) -> str:
    mode = session.execute("SELECT pg_catalog.current_setting('archive_mode')").fetchone()
    if mode is None or mode[0] == "off":
        return "nothing is archived here (archive_mode is off)"
    until = time.monotonic() + _ARCHIVE_SECONDS
    while time.monotonic() < until:
        row = session.execute(
            """SELECT coalesce(last_archived_wal, ''), coalesce(last_failed_wal, '')
               FROM pg_catalog.pg_stat_archiver"""
        ).fetchone()
        # Names of segments of one timeline sort as they were written.
        if row is not None and row[0][:8] == segment[:8] and row[0][:24] >= segment:
            return "archived"
        if row is not None and row[1][:24] == segment:
            return f"the archive refuses {segment}: mend archive_command"
        time.sleep(0.2)
    return f"{segment} was not archived within {_ARCHIVE_SECONDS:g} s: no restore reaches it yet"
