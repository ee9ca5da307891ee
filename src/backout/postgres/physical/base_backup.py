"""Take a base backup with pg_basebackup into a directory of ours, incremental where it can be."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backout.errors import BackoutError, ConfigurationError, Refused, Stopped
from backout.model.recovery import Lsn
from backout.ports.backups import Backup
from backout.postgres import servers
from backout.postgres.binaries import Binaries, for_major
from backout.postgres.client import Ended, connection_environment, run_client
from backout.postgres.connect import Session, identify, open_session, place
from backout.postgres.manifest import sync_directory
from backout.postgres.physical.chain import Source, missing, newest_for, usable, why_full
from backout.postgres.physical.clone import give_tree, require_space
from backout.postgres.physical.combine import whole_bytes
from backout.postgres.physical.control import major_of, read_control
from backout.postgres.physical.growing import bytes_in, telling
from backout.postgres.physical.verify import NAME as MANIFEST
from backout.postgres.physical.verify import read_manifest, require_files, verify_backup
from backout.records import codec

KIND = "base_backup"
DATA = "data"
RECORD = "backup.json"
_APPLICATION = "backout/base_backup/0"
_PARTIAL = ".part"
# The server's own no to this kind of backup; whatever else went wrong would stop a full one as well.
_REFUSED = re.compile(r"could not (initiate base backup|upload manifest)")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


@dataclass(frozen=True, slots=True)
class Taken:
    """What lies beside a base backup of ours: itself, and who may come in to a copy of it."""

    backup: Backup
    superuser: str
    seconds: float = 0.0
    """How long pg_basebackup took; 0 = it was not measured."""
    why_full: str = ""
    """Why it is not incremental; empty for one that is."""


@dataclass(frozen=True, slots=True)
class _Order:
    """One base backup that is to be taken."""

    dsn: str
    store: Path
    label: str
    binaries: Binaries
    tell: Callable[[str], None]
    watch: Callable[[], None]

    @property
    def data(self) -> Path:
        return self.store / f"{self.label}{_PARTIAL}" / DATA


def take(
    dsn: str,
    store: Path,
    label: str,
    *,
    reserve_bytes: int = 0,
    incrementals: int = 0,
    full: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    watch: Callable[[], None] = lambda: None,
) -> Taken:
    """Take one, read it back against its manifest, and put it into `store/label`; the record is written last.

    It is incremental on the newest one where the server can, at most `incrementals` follow a full one, and
    no `full` one was asked for; `tell` hears which kind it is and why. A whole one of this label is returned
    as it is. Raises `Refused` for a source that has tablespaces or a backup that differs from its manifest,
    `Stopped` when the disk does not take it.
    """
    _require_label(label)
    if (store / label / RECORD).exists():
        return read(store / label)
    source = _look_at_source(dsn)
    require_space(store, source.size_bytes, reserve_bytes)
    tidy(store)
    binaries = servers.reachable(for_major(source.major))
    order = _Order(dsn, store, label, binaries, tell, watch)
    order.data.parent.mkdir(parents=True)
    try:
        taken = _take(order, source, incrementals, full=full)
        (order.data.parent / RECORD).write_text(json.dumps(codec.plain(taken), indent=1, sort_keys=True))
        order.data.parent.rename(store / label)
    except BaseException:
        shutil.rmtree(order.data.parent, ignore_errors=True)
        raise
    sync_directory(store)
    return taken


def _require_label(label: str) -> None:
    if not _LABEL.match(label) or label.endswith(_PARTIAL):
        raise ConfigurationError(
            f"{label!r} is no label of a backup: use letters, digits, dot, - and _",
            where="the command line",
            intact="everything; no backup was taken",
            next="backout backup take",
        )


def tidy(store: Path) -> tuple[str, ...]:
    """Remove what a killed command left half made; the caller sees to it that nobody else is at it.

    Renamed before: a pg_basebackup that outlived its command finds no directory to write to, and ends.
    """
    found = tuple(store.glob(f"*{_PARTIAL}"))
    for left in found:
        goes = left.with_name(f"{left.name.removesuffix(_PARTIAL)}.gone{_PARTIAL}")
        shutil.rmtree(goes, ignore_errors=True)
        left.rename(goes)
        shutil.rmtree(goes, ignore_errors=True)
    return tuple(left.name for left in found)


def remove(store: Path, identifier: str) -> None:
    """Remove a whole base backup; killed in the middle, it is one that `tidy` removes."""
    left = store / f"{identifier}{_PARTIAL}"
    (store / identifier).rename(left)
    shutil.rmtree(left, ignore_errors=True)


def _look_at_source(dsn: str) -> Source:
    """Raises `Refused` for a source that a plain copy does not stand for."""
    with open_session(dsn, _APPLICATION) as session:
        row = session.execute(
            """SELECT (SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10),
                      pg_catalog.current_setting('server_version_num')::int / 10000,
                      (SELECT pg_catalog.sum(pg_catalog.pg_database_size(oid))
                       FROM pg_catalog.pg_database)::bigint,
                      (SELECT pg_catalog.string_agg(spcname, ', ') FROM pg_catalog.pg_tablespace
                       WHERE spcname NOT IN ('pg_default', 'pg_global'))"""
        ).fetchone()
        line, summarized = identify(session).target, summarizes(session)
    assert row is not None
    if row[3]:
        raise Refused(
            f"the source has tablespaces ({row[3]}): a plain copy would point into the original ones",
            where=place(dsn),
            intact="everything; no backup was begun",
            next="use pgBackRest for this cluster, it can map them",
        )
    return Source(row[0], row[1], row[2], line.system_identifier, line.timeline, summarized is True)


def summarizes(session: Session) -> bool | None:
    """Whether the server keeps which blocks its WAL changed; None = it cannot (16 and older)."""
    row = session.execute("SELECT pg_catalog.current_setting('summarize_wal', true)").fetchone()
    assert row is not None
    return None if row[0] is None else row[0] == "on"


def _take(order: _Order, source: Source, incrementals: int, *, full: bool) -> Taken:
    there = read_all(order.store)
    newest = newest_for(source, [one.backup for one in there])
    why = "it was asked for" if full else why_full(source, newest, incrementals)
    why = why or _why_not_whole(order.store, newest)
    began, prior = time.monotonic(), None
    if newest is not None and not why:
        prior, why = newest, _add_to(order, newest)
    if why:
        prior, began = None, time.monotonic()
        _copy_all(order, source, _full_rate(there), why)
    seconds = time.monotonic() - began
    give_tree(order.data)
    return Taken(_describe(order.binaries, order.label, order.data, prior), source.superuser, seconds, why)


def _why_not_whole(store: Path, newest: Backup | None) -> str:
    """Why nothing is built upon the newest one: it or one that it needs is not what its manifest says, as far
    as that can be seen without reading every file."""
    try:
        for identifier in () if newest is None else (*newest.needs, newest.id):
            require_files(store / identifier / DATA)
    except Refused as error:
        return error.what
    return ""


def _full_rate(there: Sequence[Taken]) -> float:
    """Bytes a second of the newest full one that was measured; 0 = none was."""
    measured = [one for one in there if one.seconds and not one.backup.needs]
    return measured[-1].backup.size_bytes / measured[-1].seconds if measured else 0.0


def _add_to(order: _Order, newest: Backup) -> str:
    """Copy only what changed since the newest one; why the server refuses that, empty when it did it."""
    order.tell(f"an incremental backup: only what changed since {newest.id}")
    manifest = order.store / newest.id / DATA / MANIFEST
    ended = _copy(order, 0, f"--incremental={manifest}")
    if ended.exit_code == 0:
        return ""
    if not _REFUSED.search(ended.message):
        raise _failed(order, ended)
    return f"the server refuses an incremental one ({ended.message})"


def _copy_all(order: _Order, source: Source, rate: float, why: str) -> None:
    eta = f", about {source.size_bytes / rate:.0f} s at the rate of the last one" if rate else ""
    order.tell(f"a full backup of {source.size_bytes / 1e9:.2f} GB{eta}: {why}")
    ended = _copy(order, source.size_bytes)
    if ended.exit_code != 0:
        raise _failed(order, ended)


def _copy(order: _Order, whole: int, *more: str) -> Ended:
    """pg_basebackup, the connection in its environment; it removes its directory when it fails."""
    arguments = [order.binaries.program("pg_basebackup"), "--no-password", f"--pgdata={order.data}"]
    arguments += ["--format=plain", "--wal-method=stream", "--checkpoint=fast"]
    arguments += ["--manifest-checksums=SHA256", f"--label={order.label}", *more]
    with (
        connection_environment(order.dsn, _APPLICATION, {}) as environment,
        telling(lambda: order.data, whole, order.tell),
    ):
        return run_client(arguments, environment, watch=order.watch)


def _failed(order: _Order, ended: Ended) -> Stopped:
    return Stopped(
        f"pg_basebackup {ended.died}: {ended.message}",
        where=place(order.dsn),
        intact="the source; nothing was kept of this backup",
        next="mend that (the role needs REPLICATION and a line in pg_hba.conf), then the same again",
    )


def _describe(binaries: Binaries, label: str, data: Path, prior: Backup | None) -> Backup:
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
        size_bytes=whole_bytes(data),
        checks=(check,),
        wal_segment_bytes=control.segment_bytes,
        needs=() if prior is None else (*prior.needs, prior.id),
        stored_bytes=bytes_in(data),
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
    """Every base backup in a store that can be restored, oldest first: what was never finished is not seen,
    nor an incremental one without those that it needs."""
    found = _read_records(store)
    whole = usable(taken.backup for taken in found)
    return tuple(taken for taken in found if taken.backup in whole)


def read_broken(store: Path) -> tuple[Backup, ...]:
    """The incremental ones in a store that cannot be restored any more: one that they need is not there."""
    there = tuple(taken.backup for taken in _read_records(store))
    return tuple(backup for backup in there if missing(backup, there))


def _read_records(store: Path) -> tuple[Taken, ...]:
    found = (read(path.parent) for path in store.glob(f"*/{RECORD}") if path.parent.suffix != _PARTIAL)
    return tuple(sorted(found, key=lambda taken: taken.backup.stop))
