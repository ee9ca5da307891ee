"""Have the source bring its WAL to the archive up to a position, and notice an archiver that fails."""

from __future__ import annotations

import time

from backout.errors import BackoutError, Stopped
from backout.model.recovery import Lsn
from backout.ports.backups import Backups
from backout.postgres.connect import Session
from backout.postgres.names import quoted
from backout.postgres.physical.wal import is_segment

_POLL_SECONDS = 0.1
_SEGMENT_HEADER_BYTES = 40


def may_switch_wal(session: Session) -> bool:
    """Whether this role can have the newest WAL archived at once."""
    may = session.execute("SELECT pg_catalog.has_function_privilege('pg_catalog.pg_switch_wal()', 'EXECUTE')")
    return may.fetchone() == (True,)


def grant_to_switch(role: str) -> str:
    """What lets a role have the newest WAL archived at once, as SQL for an administrator."""
    return f"GRANT EXECUTE ON FUNCTION pg_switch_wal() TO {quoted(role)};"


def bring_wal(session: Session, backups: Backups) -> str:
    """Have everything up to now archived, by this role's right or the tool's own; else why it is not: then
    what is archived has to do, and on a quiet server that may end long before what is looked for."""
    if not may_switch_wal(session):
        try:
            return "" if backups.archive_now() else f"{session.info.user} may not switch the WAL"
        except BackoutError as error:
            return error.what
    row = session.execute("SELECT pg_catalog.pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    settle_archive(session, Lsn.parse(row[0]))
    return ""


def settle_archive(session: Session, until: Lsn, patience_seconds: float = 60.0) -> str:
    """Switch the WAL and wait until everything before `until` is archived; returns the last segment that is.

    Needs the right to call `pg_switch_wal`. Raises `Stopped` when archiving is off, fails or takes too long.
    """
    row = session.execute(
        """SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')),
                  pg_catalog.current_setting('archive_mode'),
                  (SELECT failed_count FROM pg_catalog.pg_stat_archiver)"""
    ).fetchone()
    assert row is not None
    size, mode, failed_before = row
    if mode == "off":
        raise _stopped("the source archives no WAL: archive_mode is off", "set archive_mode and restart")
    needed = _segment_before(session, until, size)
    session.execute("SELECT pg_catalog.pg_switch_wal()")
    deadline = time.monotonic() + patience_seconds
    while True:
        row = session.execute(
            """SELECT coalesce(last_archived_wal, ''), failed_count, coalesce(last_failed_wal, '')
               FROM pg_catalog.pg_stat_archiver"""
        ).fetchone()
        assert row is not None
        if is_segment(row[0][:24]) and row[0][:24] >= needed:
            return str(row[0][:24])
        if time.monotonic() > deadline:
            failing = f"it failed {row[1] - failed_before} times meanwhile, last for {row[2]}"
            slow = f"the last one archived is {row[0] or 'none'}"
            raise _stopped(
                f"the source has not archived {needed}: {failing if row[1] > failed_before else slow}",
                "see the log of the source for its archive_command",
            )
        time.sleep(_POLL_SECONDS)


def _segment_before(session: Session, until: Lsn, size: int) -> str:
    """The segment with the last byte before a position. A segment that holds no record yet, only its header,
    is not switched and not archived."""
    last = until.position - 1
    if last % size < _SEGMENT_HEADER_BYTES:
        last -= last % size + 1
    row = session.execute(
        "SELECT pg_catalog.pg_walfile_name(%s::pg_catalog.pg_lsn)", (str(Lsn(last)),)
    ).fetchone()
    assert row is not None
    return str(row[0])


def _stopped(what: str, mend: str) -> Stopped:
    return Stopped(
        what,
        where="the source",
        intact="everything; only the WAL of the source was switched",
        next=mend,
    )
