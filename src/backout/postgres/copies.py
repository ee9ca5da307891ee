"""Databases on scratch servers: restored, cloned, marked, leased, listed, destroyed with proof."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from backout.errors import BackoutError, Refused, Stopped
from backout.model.target import CopyMarker
from backout.ports.servers import Scratch
from backout.postgres.binaries import Binaries
from backout.postgres.connect import Session, open_session, place, with_database
from backout.postgres.marks import mark, read_marker
from backout.postgres.restore import Restored, restore
from backout.postgres.roles import apply_properties, read_properties

PREFIX = "backout_"
_APPLICATION = "backout/copies/0"


@dataclass(frozen=True, slots=True)
class Copy:
    """One database of ours on a scratch server. Without a marker it was never finished."""

    server: str
    database: str
    size_bytes: int
    marker: CopyMarker | None

    def expired(self, now: datetime) -> bool:
        """Whether nobody holds it any more: its lease has ended, or it was never finished."""
        return self.marker is None or self.marker.lease_until < rfc3339(now)


def rfc3339(moment: datetime) -> str:
    """A moment as markers hold it: UTC, to the second, so that the texts sort like the moments."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def restore_copy(
    directory: Path,
    scratch: Scratch,
    dsn: str,
    database: str,
    binaries: Binaries,
    marker: CopyMarker,
    *,
    application_name: str,
    jobs: int = 2,
    watch: Callable[[], None] | None = None,
) -> Restored:
    """Restore a dump to a new database and mark it, the marker last: a marked copy is a whole one.

    `dsn` reaches the maintenance database of the scratch server. Errors as in `restore`.
    """
    _require_our_name(database)
    restored = restore(
        directory, scratch, dsn, database, binaries, application_name=application_name, jobs=jobs, watch=watch
    )
    with open_session(with_database(dsn, database), application_name) as session:
        mark(session, marker)
    return restored


def clone(dsn: str, template: str, database: str, marker: CopyMarker, *, application_name: str) -> None:
    """Copy a database of ours on its own server, with owner, grants and settings, and mark the clone.

    The template must have no sessions: raises `Stopped` naming those that it has after a second, and
    `Refused` when the template is no copy of ours.
    """
    _require_our_name(database)
    with open_session(with_database(dsn, template), application_name) as session:
        if read_marker(session) is None:
            raise Refused(
                f"{template} is not a finished copy of backout",
                where=place(dsn),
                intact="everything",
                next="backout copies",
            )
    with open_session(dsn, application_name) as admin:
        strategy = sql.SQL(" STRATEGY FILE_COPY" if admin.info.server_version >= 150000 else "")
        command = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(database), sql.Identifier(template)
        )
        _wait_until_unused(admin, template)
        try:
            admin.execute(command + strategy)
        except psycopg.errors.ObjectInUse:
            raise _in_use(template, _sessions(admin, template)) from None
        apply_properties(admin, database, read_properties(admin, template, with_roles=False))
    with open_session(with_database(dsn, database), application_name) as session:
        mark(session, marker)


def _wait_until_unused(admin: Session, template: str) -> None:
    """A session that was closed just now is still there for a moment; the server itself would wait 5 s."""
    for _ in range(10):
        if not (there := _sessions(admin, template)):
            return
        time.sleep(0.1)
    raise _in_use(template, there)


def _sessions(admin: Session, database: str) -> str:
    rows = admin.execute(
        "SELECT pid, application_name FROM pg_catalog.pg_stat_activity WHERE datname = %s ORDER BY pid",
        (database,),
    ).fetchall()
    return ", ".join(f"pid {pid} ({name or 'no name'})" for pid, name in rows)


def _in_use(template: str, sessions: str) -> Stopped:
    return Stopped(
        f"the copy {template} cannot be cloned while it has sessions: {sessions or 'gone by now'}",
        where="the scratch server",
        intact="everything",
        next="end them, then: backout resume",
    )


def _require_our_name(database: str) -> None:
    if not database.startswith(PREFIX):
        raise Refused(
            f"{database} is not a name of ours: copies are called {PREFIX}…",
            where="the scratch server",
            intact="everything",
            next="backout copies",
        )


def list_copies(dsn: str, server: str) -> tuple[Copy, ...]:
    """The databases of ours on one scratch server, also unfinished ones. `server` names it for people."""
    with open_session(dsn, _APPLICATION) as admin:
        rows = admin.execute(
            """SELECT datname, pg_catalog.pg_database_size(oid) FROM pg_catalog.pg_database
               WHERE pg_catalog.starts_with(datname, %s) AND datallowconn ORDER BY datname""",
            (PREFIX,),
        ).fetchall()
    return tuple(Copy(server, name, size, _marker_of(with_database(dsn, name))) for name, size in rows)


def _marker_of(dsn: str) -> CopyMarker | None:
    try:
        with open_session(dsn, _APPLICATION) as session:
            return read_marker(session)
    except BackoutError:
        return None  # dropped meanwhile, or not to be entered: not a whole copy


def set_lease(dsn: str, database: str, until: datetime) -> None:
    """Keep a copy until then, longer or shorter; raises `Refused` when it is no finished copy of ours."""
    with open_session(with_database(dsn, database), _APPLICATION) as session:
        marker = read_marker(session)
        if marker is None:
            raise Refused(
                f"{database} is not a finished copy of backout",
                where=place(dsn),
                intact="everything",
                next="backout copies",
            )
        mark(
            session,
            CopyMarker(
                marker.copy_id,
                marker.of_system_identifier,
                marker.of_database,
                marker.made_at,
                rfc3339(until),
            ),
        )


def destroy(scratch: Scratch, dsn: str, database: str) -> None:
    """Drop a copy with its sessions, and look that it is gone. Idempotent.

    On a server that the user named only a marked database is dropped: raises `Refused` otherwise.
    """
    _require_our_name(database)
    with open_session(dsn, _APPLICATION) as admin:
        if not _exists(admin, database):
            return
        if not scratch.data_directory and _marker_of(with_database(dsn, database)) is None:
            raise Refused(
                f"{database} has no marker of backout, and its server is not ours",
                where=place(dsn),
                intact="everything",
                next=f"look at it, then drop it by hand: DROP DATABASE {database}",
            )
    destroy_on_ours(dsn, database)


def destroy_on_ours(dsn: str, database: str) -> None:
    """The same on a server that is surely ours, such as a restored instance."""
    _require_our_name(database)
    with open_session(dsn, _APPLICATION) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))
        if _exists(admin, database):
            raise Stopped(
                f"{database} is still there after it was dropped",
                where=place(dsn),
                intact="everything else on that server",
                next="backout copies",
            )


def _exists(admin: Session, database: str) -> bool:
    found = admin.execute("SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", (database,))
    return found.fetchone() is not None
