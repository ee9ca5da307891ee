"""Take a dump that can be proved: whole or not there, its moment known, read back once to its last row."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from backout.errors import LockNotGranted, Refused, Stopped
from backout.postgres import manifest as manifests
from backout.postgres.binaries import Binaries
from backout.postgres.client import Ended, connection_environment, reading, run_client
from backout.postgres.connect import Session, open_session, place
from backout.postgres.dump_files import NOTHING_TAKEN, appears_whole, bytes_in, not_written, note_pid
from backout.postgres.dump_preflight import preflight
from backout.postgres.dump_stream import Contents, read_contents
from backout.postgres.manifest import Manifest, Origin
from backout.postgres.reserve import keep_free
from backout.postgres.roles import read_properties, read_roles
from backout.postgres.source_facts import read_source_facts

DUMP = "dump"
"""Folder of pg_dump's own files inside the directory of a snapshot."""
GLOBALS = "globals.sql"
# What pg_dump does not set by itself and what would change the text of a value.
DUMP_SETTINGS = {"bytea_output": "hex", "timezone": "UTC"}
_CODECS = ("zstd:1", "lz4", "gzip:1", "0")


@dataclass(frozen=True, slots=True)
class Limits:
    """When a running dump is ended: bytes that must stay free on its disk, seconds it may take (it holds
    back vacuum on the source all the while), and seconds that it waits for a locked table."""

    reserve_bytes: int = 0
    seconds: float = 1800.0
    lock_wait_seconds: float = 5.0


_DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class DumpResult:
    """A dump that pg_dump ended without an error. It counts as taken only with contents and manifest."""

    directory: str
    origin: Origin
    client: str
    compression: str
    jobs: int
    excluded: tuple[str, ...]
    globals_note: str
    """Why there are no globals; empty when there are."""
    size_bytes: int
    seconds: float


@cache
def probe_compression(binaries: Binaries) -> str:
    """The cheapest codec that this pg_dump was really built with, best first; `0` when none.

    Versions do not tell: a 16 or 18 may lack zstd, and 15 does not even know the word.
    """
    for codec in _CODECS[:-1]:
        tried = subprocess.run(  # noqa: S603 - it fails before it connects; only its complaint is read
            [binaries.program("pg_dump"), f"--compress={codec}", "-Fc", "-f/nonexistent/x", "-h/nonexistent"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=os.environ | {"LC_ALL": "C"},
        )
        if "compress" not in tried.stderr.lower():
            return codec
    return _CODECS[-1]


def take_dump(
    dsn: str,
    binaries: Binaries,
    directory: Path,
    *,
    application_name: str,
    jobs: int = 2,
    exclude_data: tuple[str, ...] = (),
    limits: Limits = _DEFAULT_LIMITS,
    progress: Callable[[int], None] = lambda written: None,
) -> DumpResult:
    """Dump the database into `directory`, which appears only when pg_dump ended without an error.

    `exclude_data`: qualified names (as SQL) whose rows are left out. `progress` gets the bytes written.
    Raises `Refused` when the role cannot see everything, `LockNotGranted` when a table stayed locked for
    five seconds, `Stopped` for a full disk, a lost connection or a killed program; each leaves nothing.
    """
    begun = time.monotonic()
    compression = probe_compression(binaries)
    with (
        _session(dsn, application_name, binaries, exclude_data) as session,
        appears_whole(directory) as part,
        connection_environment(dsn, application_name, DUMP_SETTINGS) as environment,
    ):
        origin, snapshot = _export_moment(session)
        arguments = [
            *(binaries.program("pg_dump"), "--format=directory", f"--jobs={jobs}", "--no-password"),
            *(f"--compress={compression}", f"--lock-wait-timeout={int(limits.lock_wait_seconds * 1000)}"),
            *(f"--snapshot={snapshot}", f"--file={part / DUMP}"),
            *(f"--exclude-table-data={name}" for name in exclude_data),
        ]
        ended = run_client(
            arguments,
            environment,
            watch=_watch(part, limits, begun, progress),
            started=lambda pid: note_pid(part, pid),
        )
        _raise_for(ended, session, limits, place(dsn))
        note = _dump_globals(binaries, environment, part, origin.database)
        size = bytes_in(part)
    return DumpResult(
        directory=str(directory),
        origin=origin,
        client=f"pg_dump {binaries.version}",
        compression=compression,
        jobs=jobs,
        excluded=exclude_data,
        globals_note=note,
        size_bytes=size,
        seconds=time.monotonic() - begun,
    )


@contextmanager
def _session(
    dsn: str, application_name: str, binaries: Binaries, excluded: tuple[str, ...]
) -> Iterator[Session]:
    """A session that may hold a transaction open for long; refused when the preflight fails."""
    with open_session(dsn, application_name) as session:
        for check in preflight(session, binaries, excluded):
            if not check.good:
                raise Refused(
                    check.detail,
                    where=place(dsn),
                    intact="everything; nothing was dumped",
                    next=f"{check.mend}; then: backout doctor",
                )
        if session.info.server_version >= 170000:
            session.execute("SET transaction_timeout = 0")
        yield session


# Two bounds: what is visible may lie behind the written position (synchronous_commit = off), never behind
# the insert position; and what was written before the snapshot began may not be visible yet.
_WRITTEN = """CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                   ELSE pg_catalog.pg_current_wal_lsn() END"""
_INSERTED = """CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                    ELSE pg_catalog.pg_current_wal_insert_lsn() END"""


def _export_moment(session: Session) -> tuple[Origin, str]:
    """Begin the transaction snapshot that pg_dump will use; it lives as long as the session's transaction."""
    before = session.execute(f"SELECT ({_WRITTEN})::text").fetchone()
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    row = session.execute(
        f"""SELECT c.system_identifier::text, p.timeline_id, pg_catalog.current_database()::text,
                  current_user::text, ({_INSERTED})::text, pg_catalog.pg_current_snapshot()::text,
                  pg_catalog.pg_is_in_recovery(), pg_catalog.clock_timestamp(),
                  pg_catalog.current_setting('lc_monetary'),
                  pg_catalog.current_setting('data_checksums')::bool, pg_catalog.pg_export_snapshot()
           FROM pg_catalog.pg_control_system() c, pg_catalog.pg_control_checkpoint() p"""  # noqa: S608
    ).fetchone()
    assert row is not None and before is not None
    origin = Origin(
        system_identifier=row[0],
        timeline=row[1],
        database=row[2],
        role=row[3],
        lsn=row[4],
        lsn_before=before[0],
        snapshot=row[5],
        from_standby=row[6],
        begun_at=_rfc3339(row[7]),
        lc_monetary=row[8],
        data_checksums=row[9],
        facts=read_source_facts(session),
        roles=read_roles(session),
        properties=read_properties(session, row[2], with_roles=True),
    )
    return origin, str(row[10])


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _watch(part: Path, limits: Limits, begun: float, progress: Callable[[int], None]) -> Callable[[], None]:
    """Called while pg_dump runs: tells the bytes written, and ends it before it hurts the source."""

    look_at_disk = keep_free(part, limits.reserve_bytes, NOTHING_TAKEN)

    def look() -> None:
        progress(bytes_in(part))
        look_at_disk()
        if time.monotonic() - begun > limits.seconds:
            raise Stopped(
                f"the dump took longer than {limits.seconds:.0f} s, and holds back vacuum on the source",
                where=str(part),
                intact=NOTHING_TAKEN,
                next="allow it more time, or choose the scope blast radius, then: backout resume",
            )

    return look


def _raise_for(ended: Ended, session: Session, limits: Limits, where: str) -> None:
    """Turn the end of pg_dump into the error that helps; nothing for exit code 0."""
    if ended.exit_code == 0:
        return
    text = ended.message
    if "No space left" in text or "Disk quota" in text:
        raise not_written(where, text)
    again = "backout resume"
    if "statement timeout" in text or "lock timeout" in text:  # how pg_dump bounds its LOCK TABLE
        what = f"a table stayed locked for {limits.lock_wait_seconds:g} s{_holders(session)}"
        raise LockNotGranted(what, where=where, intact=NOTHING_TAKEN, next=again)
    if "permission denied" in text or "row-level security" in text:
        raise Refused(
            f"the dump was refused: {text}", where=where, intact=NOTHING_TAKEN, next="backout doctor"
        )
    raise Stopped(f"pg_dump {ended.died}: {text}", where=where, intact=NOTHING_TAKEN, next=again)


def _holders(session: Session) -> str:
    """Who holds a lock that keeps readers out, in words for people; the session may not see who."""
    rows = session.execute(
        """SELECT DISTINCT l.relation::regclass::text, l.pid, coalesce(a.application_name, '')
           FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
           WHERE l.mode = 'AccessExclusiveLock' AND l.granted AND l.relation IS NOT NULL
             AND l.database = (SELECT oid FROM pg_catalog.pg_database
                               WHERE datname = pg_catalog.current_database())
           ORDER BY 1 LIMIT 3"""
    ).fetchall()
    if not rows:
        return ""
    return ": " + ", ".join(f"{table} by pid {pid} ({name or 'no name'})" for table, pid, name in rows)


def _dump_globals(binaries: Binaries, environment: Mapping[str, str], part: Path, database: str) -> str:
    """Roles and tablespaces without passwords, for people; returns why there are none, or nothing."""
    program = Path(binaries.program("pg_dumpall"))
    if not program.exists():
        return "pg_dumpall is not installed here"
    file = part / GLOBALS
    arguments = [str(program), "--globals-only", "--no-role-passwords", "--no-password", f"--file={file}"]
    ended = run_client([*arguments, f"--database={database}"], environment)
    if ended.exit_code == 0:
        return ""
    file.unlink(missing_ok=True)
    return f"pg_dumpall {ended.died}: {ended.message}"


def read_back(directory: Path, binaries: Binaries, unordered: Collection[tuple[str, str]] = ()) -> Contents:
    """Read the whole dump once, to its last row, in constant memory; `unordered` as in `read_contents`.

    Raises `Refused` when it is torn, cannot be read, or pg_restore ends with anything but 0.
    """
    with (
        connection_environment("", "backout", {}) as environment,
        reading(
            [binaries.program("pg_restore"), "--data-only", "-f", "-", str(directory / DUMP)], environment
        ) as run,
    ):
        try:
            contents, torn = read_contents(run.stream, unordered), None
        except Refused as error:
            contents, torn = None, error
        ended = run.ended()
    if contents is not None and ended.exit_code == 0:
        return contents
    reason = f"pg_restore {ended.died}: {ended.message}" if ended.exit_code else str(torn)
    raise Refused(
        f"the dump cannot be read back: {reason}",
        where=str(directory),
        intact="the database; this dump counts as not taken",
        next="backout snapshot take",
    )


def finish(result: DumpResult, contents: Contents, history_head: str) -> tuple[Manifest, str]:
    """Write the manifest, which makes the dump count as taken; returns it and its SHA-256."""
    directory = Path(result.directory)
    manifest = Manifest(
        version=manifests.VERSION,
        origin=result.origin,
        history_head=history_head,
        client=result.client,
        compression=result.compression,
        excluded=result.excluded,
        globals_note=result.globals_note,
        contents=contents,
        files=manifests.list_files(directory),
        finished_at=_rfc3339(datetime.now(UTC)),
    )
    return manifest, manifests.write(directory, manifest)
