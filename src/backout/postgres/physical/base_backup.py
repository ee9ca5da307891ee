"""Take a base backup with pg_basebackup into a directory of ours; whole or not there."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backout.errors import BackoutError, ConfigurationError, Refused, Stopped
from backout.model.recovery import Lsn
from backout.ports.backups import Backup
from backout.postgres import servers
from backout.postgres.binaries import Binaries, for_major
from backout.postgres.client import connection_environment, run_client
from backout.postgres.connect import open_session, place
from backout.postgres.manifest import sync_directory
from backout.postgres.physical.clone import give_tree, require_space
from backout.postgres.physical.control import major_of, read_control
from backout.postgres.physical.verify import read_manifest, verify_backup
from backout.records import codec

KIND = "base_backup"
DATA = "data"
RECORD = "backup.json"
_APPLICATION = "backout/base_backup/0"
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


@dataclass(frozen=True, slots=True)
class Taken:
    """What lies beside a base backup of ours: itself, and who may come in to a copy of it."""

    backup: Backup
    superuser: str


def take(
    dsn: str, store: Path, label: str, *, reserve_bytes: int = 0, watch: Callable[[], None] = lambda: None
) -> Taken:
    """Take one, read it back against its manifest, and put it into `store/label`; the record is written last.

    A whole one of this label is returned as it is. Raises `Refused` for a source that has tablespaces or a
    backup that differs from its manifest, `Stopped` when the disk does not take it.
    """
    if not _LABEL.match(label) or label.endswith(".part"):
        raise ConfigurationError(
            f"{label!r} is no label of a backup: use letters, digits, dot, - and _",
            where="the command line",
            intact="everything; no backup was taken",
            next="backout backup take",
        )
    if (store / label / RECORD).exists():
        return read(store / label)
    superuser, major, size = _look_at_source(dsn)
    require_space(store, size, reserve_bytes)
    partial = store / f"{label}.part"
    for left in store.glob(
        "*.part"
    ):  # of one that was killed; the caller sees to it that nobody else is at it
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        binaries = servers.reachable(for_major(major))
        _copy(dsn, binaries, label, partial / DATA, watch)
        taken = Taken(_describe(binaries, label, partial / DATA), superuser)
        (partial / RECORD).write_text(json.dumps(codec.plain(taken), indent=1, sort_keys=True))
        partial.rename(store / label)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_directory(store)
    return taken


def _look_at_source(dsn: str) -> tuple[str, int, int]:
    """Name of the bootstrap superuser, major version, bytes of all databases."""
    with open_session(dsn, _APPLICATION) as session:
        row = session.execute(
            """SELECT (SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10),
                      pg_catalog.current_setting('server_version_num')::int / 10000,
                      (SELECT pg_catalog.sum(pg_catalog.pg_database_size(oid))
                       FROM pg_catalog.pg_database)::bigint,
                      (SELECT pg_catalog.string_agg(spcname, ', ') FROM pg_catalog.pg_tablespace
                       WHERE spcname NOT IN ('pg_default', 'pg_global'))"""
        ).fetchone()
    assert row is not None
    if row[3]:
        raise Refused(
            f"the source has tablespaces ({row[3]}): a plain copy would point into the original ones",
            where=place(dsn),
            intact="everything; no backup was begun",
            next="use pgBackRest for this cluster, it can map them",
        )
    return row[0], row[1], row[2]


def _copy(dsn: str, binaries: Binaries, label: str, data: Path, watch: Callable[[], None]) -> None:
    """pg_basebackup, the connection in its environment; it removes its directory when it fails."""
    arguments = [binaries.program("pg_basebackup"), "--no-password", f"--pgdata={data}", "--format=plain"]
    arguments += ["--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=SHA256"]
    arguments.append(f"--label={label}")
    with connection_environment(dsn, _APPLICATION, {}) as environment:
        ended = run_client(arguments, environment, watch=watch)
    if ended.exit_code != 0:
        raise Stopped(
            f"pg_basebackup {ended.died}: {ended.message}",
            where=place(dsn),
            intact="the source; nothing was kept of this backup",
            next="mend that (the role needs REPLICATION and a line in pg_hba.conf), then the same again",
        )
    give_tree(data)


def _describe(binaries: Binaries, label: str, data: Path) -> Backup:
    """Everything from the files themselves, not from what the source said meanwhile."""
    check = verify_backup(binaries, data)
    ranges = read_manifest(data)["WAL-Ranges"]
    control = read_control(binaries, data)
    return Backup(
        id=label,
        kind=KIND,
        system_identifier=control.system_identifier,
        major=major_of(data),
        timeline=int(ranges[-1]["Timeline"]),
        start=Lsn.parse(ranges[0]["Start-LSN"]),
        stop=Lsn.parse(ranges[-1]["End-LSN"]),
        taken_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        size_bytes=sum(path.stat().st_size for path in data.rglob("*") if path.is_file()),
        checks=(check,),
        wal_segment_bytes=control.segment_bytes,
    )


def read(directory: Path) -> Taken:
    """The record of a base backup of ours; raises `Refused` when there is none that can be read."""
    try:
        return codec.load_plain(Taken, json.loads((directory / RECORD).read_text()))
    except (OSError, ValueError, BackoutError):
        raise Refused(
            f"{directory.name} is no whole base backup of backout",
            where=str(directory),
            intact="the source; this copy is not used",
            next="backout backup list",
        ) from None


def read_all(store: Path) -> tuple[Taken, ...]:
    """Every whole base backup in a store, oldest first; what was never finished is not seen."""
    found = (read(path.parent) for path in store.glob(f"*/{RECORD}") if path.parent.suffix != ".part")
    return tuple(sorted(found, key=lambda taken: taken.backup.stop))
