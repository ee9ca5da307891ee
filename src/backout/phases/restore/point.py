"""Where a restore is to end: read from the source and its WAL, never guessed from a clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from backout.errors import BackoutError, ConfigurationError, Refused, UnknownName
from backout.model.migration import History
from backout.model.recovery import (
    BackupEnd,
    Line,
    Lsn,
    NotInWal,
    RecoveryTarget,
    TwinBefore,
    UpTo,
    twin_before,
)
from backout.model.restored import PointKind, Wanted
from backout.model.target import TargetIdentity
from backout.ports.backups import Backup, Backups
from backout.ports.world import Session, World
from backout.postgres.activity import current_lsn
from backout.postgres.binaries import for_major
from backout.postgres.connect import identify
from backout.postgres.extensions import install_command, on_disk
from backout.postgres.physical.archiving import bring_wal
from backout.postgres.physical.first_bad import find_first_bad
from backout.postgres.physical.reachable import Archived, first_commit_after, newest_commit
from backout.postgres.source_facts import read_source_facts

_INTACT = "everything; nothing was restored"
_SEGMENT_HEADER_BYTES = 40
"""A segment with nothing but its header is not switched and not archived."""


@dataclass(frozen=True, slots=True)
class Source:
    """The production as it answered before anything was restored: what the choice is made from.

    A lost server answers nothing: then the cluster is that of the newest backup, and what only the server
    knows is None.
    """

    identity: TargetIdentity
    major: int
    position: Lsn | None
    next_xid: int | None
    history: History | None
    extensions: tuple[str, ...]
    superusers: frozenset[str]
    silent: str = ""
    """Why it did not answer; empty = it did."""

    @property
    def line(self) -> Line:
        """Its cluster and timeline."""
        return Line(self.identity.system_identifier, self.identity.timeline)

    @property
    def heads(self) -> tuple[str, ...] | None:
        """The migrations that its history lists; None = it does not answer."""
        return None if self.history is None else tuple(row.name for row in self.history.rows)

    def __str__(self) -> str:
        return f"{self.identity.database}, which does not answer" if self.silent else str(self.identity)


@dataclass(frozen=True, slots=True)
class Point:
    """The recovery target that was found, and how."""

    target: RecoveryTarget
    note: str
    head: str | None = None
    """Newest migration that the restored history has to list; None = not known from the point."""


def read_source(session: Session, world: World) -> Source:
    """Position, history, extensions and superusers of the production; nothing is changed."""
    identity = identify(session)
    row = session.execute(
        "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint"
    ).fetchone()
    roles = session.execute("SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolsuper").fetchall()
    assert row is not None
    return Source(
        identity.target,
        identity.server_version // 10000,
        Lsn.parse(current_lsn(session)),
        int(row[0]),
        world.migrator.history(session),
        tuple(name for name, _ in read_source_facts(session).extensions),
        frozenset(role[0] for role in roles),
    )


def lost_source(database: str, newest: Backup | None, silent: str) -> Source:
    """What is known of a production that does not answer."""
    of = ("", 0) if newest is None else (newest.system_identifier, newest.timeline)
    identity = TargetIdentity(*of, database, 0, "", 0)
    major = 0 if newest is None else newest.major
    return Source(identity, major, None, None, None, (), frozenset(), silent)


def require_able(source: Source, backups: Backups) -> None:
    """What would make the restored instance useless and is known before: the programs of its version, the
    files of its extensions, the role as which it is entered. Raises `Refused`, `NeighbourUnreachable`."""
    binaries = for_major(source.major)
    require_extensions(source.extensions, frozenset(on_disk(binaries)), source.major)
    role = backups.superuser()
    if role and not source.silent and role not in source.superusers:
        raise Refused(
            f"the restored instance would be entered as {role}, and the source has no such superuser",
            where=str(source.identity),
            intact=_INTACT,
            next=f"set superuser of the target's backups to one of {', '.join(sorted(source.superusers))}, "
            "then: backout restore",
        )


def require_extensions(names: tuple[str, ...], there: frozenset[str], major: int) -> None:
    """Raises `Refused` naming every extension whose files this machine does not have."""
    missing = [name for name in names if name != "plpgsql" and name not in there]
    if missing:
        commands = "; ".join(dict.fromkeys(install_command(name, major) for name in missing))
        raise Refused(
            f"files of extensions are not on this machine: {', '.join(missing)}; tables and functions of the "
            "restored database would fail",
            where=f"PostgreSQL {major} of this machine",
            intact=_INTACT,
            next=f"{commands}; then: backout restore",
        )


def find(
    session: Session | None, backups: Backups, there: tuple[Backup, ...], source: Source, wanted: Wanted
) -> Point:
    """The recovery target for what was asked. Raises `Refused` or `UnknownName` with the exact reason.

    Without a session (the source is lost) what is archived has to do.
    """
    if wanted.kind is PointKind.BACKUP:
        return _at_backup(there, source, wanted.value)
    if wanted.kind is PointKind.POSITION:
        _position(source, wanted.value)  # refused before anything is switched
    late = _brought(session, backups) if session is not None else "the source does not answer"
    archived = Archived(backups.wal(), for_major(source.major), source.line, _segment_bytes(there))
    match wanted.kind:
        case PointKind.POSITION if not _is_the_end(source, _position(source, wanted.value), archived):
            at = _position(source, wanted.value)
            return Point(UpTo(source.line, at), "a position in the WAL, as it was given")
        case PointKind.MIGRATION:
            return _before(archived, source, wanted.value, late)
        case PointKind.TIME:
            return _at_time(archived, there, source, wanted.value)
        case _:
            return _newest(archived, there, source, late)


def _brought(session: Session, backups: Backups) -> str:
    """Have the newest WAL archived; why it is not, when nobody here can: what is there has to do."""
    if identify(session).in_recovery:
        return "dsn.snapshot leads to a standby, which archives nothing"
    try:
        return bring_wal(session, backups)
    except BackoutError as error:
        return error.what


def _segment_bytes(there: tuple[Backup, ...]) -> int:
    return there[-1].wal_segment_bytes if there else 16 << 20


def _at_backup(there: tuple[Backup, ...], source: Source, name: str) -> Point:
    for backup in there:
        if backup.id == name:
            _require_same_cluster(backup, source)
            line = Line(backup.system_identifier, backup.timeline)
            return Point(BackupEnd(line, backup.id, backup.stop), "the first moment at which it is whole")
    raise UnknownName(
        f"there is no backup {name!r}",
        where="the backups of this target",
        intact=_INTACT,
        next="backout backup list",
    )


def _require_same_cluster(backup: Backup, source: Source) -> None:
    if backup.system_identifier != source.identity.system_identifier:
        raise Refused(
            f"backup {backup.id} is of another cluster: it has system identifier "
            f"{backup.system_identifier}, the target has {source.identity.system_identifier}",
            where="the backups of this target",
            intact=_INTACT,
            next="correct the backups of this target in backout.toml, then: backout backup list",
        )


def _position(source: Source, text: str) -> Lsn:
    try:
        at = Lsn.parse(text)
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is no WAL position; one looks like 16/B374D848",
            where="--to",
            intact=_INTACT,
            next="backout restore --to 0/1234568",
        ) from None
    if source.position is not None and at > source.position:
        raise Refused(
            f"position {at} lies in the future: the source stands at {source.position}",
            where=str(source.identity),
            intact=_INTACT,
            next="an earlier position, or the newest state: backout restore",
        )
    return at


def _is_the_end(source: Source, at: Lsn, archived: Archived) -> bool:
    """Whether no record begins at this place or later: then it means the newest state."""
    if source.position is None:
        return False
    in_segment = source.position.position % archived.segment_bytes
    only_header = in_segment <= _SEGMENT_HEADER_BYTES
    return at >= source.position or (only_header and at.position >= source.position.position - in_segment)


def _before(archived: Archived, source: Source, name: str, late: str) -> Point:
    """Just before the commit of a migration that the history lists."""
    if source.history is None:
        raise _not_found("the source does not answer, and its history tells the transaction")
    row = source.history.find(name)
    if row is None:
        known = ", ".join(one.name for one in source.history.rows[-5:]) or "none"
        raise UnknownName(
            f"the history of the source does not list {name!r}; the newest it lists: {known}",
            where=str(source.identity),
            intact=_INTACT,
            next="name one of those, or a position: backout restore --to 0/1234568",
        )
    if row.xid is None:
        raise _not_found(f"the row of {name} does not tell its transaction")
    size = archived.segment_bytes
    bad = find_first_bad(archived.wal, archived.binaries, source.line, [int(row.xid)], segment_bytes=size)
    if isinstance(bad, NotInWal):
        raise _not_found(f"{bad.reason}; {late}" if late else bad.reason)
    earlier = [one.name for one in source.history.rows if one.position < row.position]
    return Point(
        twin_before(bad),
        f"{name} committed at {bad.transactions[0].committed_at}",
        earlier[-1] if earlier else "",
    )


def _not_found(reason: str) -> Refused:
    return Refused(
        f"the migration is not found in the WAL: {reason}",
        where="the archived WAL",
        intact=_INTACT,
        next="a position or a backup: backout restore --at-backup ID",
    )


def _at_time(archived: Archived, there: tuple[Backup, ...], source: Source, text: str) -> Point:
    """Just before the first commit that is later than the time: every commit up to it is there, and the
    place is one in the WAL. Time stamps of commits need not be in order; the first one ends it."""
    moment = _moment(text)
    older = [b for b in there if b.timeline == source.line.timeline and _taken(b) <= moment]
    if not older:
        raise Refused(
            f"no backup of timeline {source.line.timeline} ended before {text}",
            where="the backups of this target",
            intact=_INTACT,
            next="backout backup list",
        )
    commit, at = first_commit_after(archived, older[-1], moment)
    return Point(TwinBefore(source.line, commit), f"the first commit after {text} is of {at}")


def _taken(backup: Backup) -> datetime:
    return datetime.fromisoformat(backup.taken_at)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is no time; one looks like 2026-11-30T03:04:12+00:00",
            where="--to-time",
            intact=_INTACT,
            next="backout restore --to-time 2026-11-30T03:04:12+00:00",
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _newest(archived: Archived, there: tuple[Backup, ...], source: Source, late: str) -> Point:
    """The newest commit in the archive: what comes behind it changes nothing, and need not be there."""
    ours = [b for b in there if Line(b.system_identifier, b.timeline) == source.line]
    if not ours:  # the choice of a backup says why none of them does
        return Point(UpTo(source.line, source.position or Lsn(0)), "everything up to now")
    found = newest_commit(archived, ours[-1])
    more = f"; later WAL is not archived: {late}" if late else ""
    if found is not None:
        return Point(found.target, f"the newest commit, of {found.committed_at}{more}")
    end = BackupEnd(source.line, ours[-1].id, ours[-1].stop)
    return Point(end, f"nothing committed since the newest backup{more}")
