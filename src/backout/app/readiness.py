"""`doctor`: is this target fit to be rescued; and what the role may do there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from backout import settings
from backout.adapters.servers.local import LocalServers
from backout.adapters.store.directory import DirectoryStore
from backout.app.compose import Application
from backout.app.results import Doctor
from backout.errors import BackoutError
from backout.model.check import Check, CheckState, all_good
from backout.model.readiness import Standing
from backout.model.target import SessionIdentity
from backout.phases.readiness import decide, standing
from backout.phases.readiness.capabilities import table
from backout.phases.readiness.facts import PeopleFacts, Room, ServerFacts
from backout.phases.readiness.gather import asker, encryption, history_facts, server_facts
from backout.phases.readiness.grants import schema_sql, script
from backout.phases.snapshot.decide import wants_radius
from backout.ports.backups import Backups
from backout.ports.servers import SourceFacts
from backout.ports.world import Session, World
from backout.postgres import fitting
from backout.postgres.asking import attempt
from backout.postgres.binaries import client_for
from backout.postgres.capabilities import ask_rights, may_stream
from backout.postgres.connect import identify, open_session
from backout.postgres.dump_preflight import preflight
from backout.postgres.physical.archiving import may_switch_wal
from backout.postgres.physical.base_backup import summarizes
from backout.postgres.pooling import find_pooler, through_pooler
from backout.postgres.source_facts import read_source_facts
from backout.render.screens.doctor import following

_SESSION = "backout/doctor/0"
# What a proof asks of the disk for copies: data, indexes and WAL once more, and as much for a clone.
_COPY_FACTOR = 4


@dataclass(frozen=True, slots=True)
class Examined:
    """What `doctor` found. `error` is set when the server itself could not be looked at."""

    doctor: Doctor
    error: BackoutError | None = None

    @property
    def exit_code(self) -> int:
        """Of the command: the error's, else 1 when a check failed or is unknown."""
        if self.error is not None:
            return self.error.exit_code
        return 0 if all_good(self.doctor.checks) else 1


@dataclass(frozen=True, slots=True)
class Script:
    """SQL for an administrator."""

    sql: str
    next: str = "backout doctor"


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of the server."""

    checks: tuple[Check, ...]
    identity: SessionIdentity | None = None
    error: BackoutError | None = None


def examine(app: Application, target: str | None) -> Examined:
    """Every check, also those beside a server that does not answer. Nothing is changed anywhere."""
    name = app.target_name(target)
    world = app.world(name)
    with ThreadPoolExecutor(max_workers=1) as pool:
        tool = pool.submit(world.migrator.checks)  # starts the tool: the slowest of all
        look = _look(app, world)
        checks = (
            _configuration(app, world),
            *look.checks,
            *standing.gathered("migration", tool.result()),
            standing.command_check(name),
            standing.people_check(_people(app, world)),
            standing.validation_check(world.validation),
        )
    seen = look.identity
    doctor = Doctor(
        name,
        checks,
        _next(checks, look.error),
        environment=world.environment,
        identity=seen.target if seen else None,
        primary=not seen.in_recovery if seen else None,
        role=seen.role if seen else "",
        error=look.error.what if look.error else "",
    )
    return Examined(doctor, look.error)


def _next(checks: tuple[Check, ...], error: BackoutError | None) -> str:
    return error.next if error is not None and error.next else following(checks)


def _configuration(app: Application, world: World) -> Check:
    count = len(app.settings.target)
    others = f", one of {count} targets" if count > 1 else ""
    return Check("configuration", CheckState.PASS, f"{app.config_path.name}, {world.target}{others}")


@dataclass(frozen=True, slots=True)
class _Dsn:
    """One connection string, for as long as one look takes. `source` says where it was read from."""

    purpose: str
    source: str
    text: str = field(repr=False)


def _dsns(app: Application, world: World) -> tuple[_Dsn, ...]:
    """Each different connection string once; `operate` is the first."""
    dsns = app.target(world.target).dsn
    base = app.config_path.parent
    found: list[_Dsn] = []
    for purpose, dsn in (("operate", dsns.operate), ("observe", dsns.observe), ("snapshot", dsns.snapshot)):
        if dsn is None:
            continue
        text = settings.resolve_dsn(dsn, base, f"target.{world.target}.dsn.{purpose}").get_secret_value()
        if text not in [other.text for other in found]:
            found.append(_Dsn(purpose, dsn.source, text))
    return tuple(found)


def _look(app: Application, world: World) -> _Look:
    """The checks that need the server; with an error only the one that says so."""
    try:
        dsns = _dsns(app, world)
        for dsn in dsns:  # before anything is pinned: a setting would stay on a backend that others get next
            shown = find_pooler(dsn.text)
            if shown:
                return _pooled(dsn, shown)
        with world.databases.observe(_SESSION) as session:
            return _server(app, world, session, dsns)
    except BackoutError as error:
        return _Look((Check("connection", CheckState.FAIL, error.what, error.next),), None, error)


def _pooled(dsn: _Dsn, shown: str) -> _Look:
    error = through_pooler(dsn.text, dsn.source)
    detail = f"the DSN for {dsn.purpose} leads through a pooler in transaction mode: {shown}"
    return _Look((Check("direct", CheckState.FAIL, detail, error.next),), None, error)


def _server(app: Application, world: World, session: Session, dsns: tuple[_Dsn, ...]) -> _Look:
    roles = _roles(dsns)
    connection = decide.connection_check(encryption(session), roles)
    direct = Check("direct", CheckState.PASS, "each connection has a backend of its own")
    with world.databases.operate(_SESSION) as operating:
        operating.execute("SET default_transaction_read_only = on")
        identity = identify(operating)
        seen, refused = attempt(lambda: server_facts(operating))
    if seen is None:
        unknown = Check("server", CheckState.UNKNOWN, refused, f"backout doctor --can, as {identity.role}")
        return _Look((connection, direct, unknown), identity)
    source = read_source_facts(session)
    checks = (
        connection,
        *_dump(world, seen),
        direct,
        *decide.server_checks(seen, app.settings.budgets.connections),
        standing.room_check(_room(app, world, source)),
        *standing.gathered(
            "scratch", fitting.checks(world.servers, source, source.size_bytes * _COPY_FACTOR, world.target)
        ),
        *_backups(world, seen),
        _history(world, session),
    )
    return _Look(checks, identity)


def _roles(dsns: tuple[_Dsn, ...]) -> tuple[str, ...]:
    """Every login works, or the first error is raised."""
    found = []
    for dsn in dsns:
        with open_session(dsn.text, _SESSION) as session:
            found.append(str(session.info.user))
    return tuple(found)


def _dump(world: World, seen: ServerFacts) -> Iterator[Check]:
    """Versions, and whether the role that dumps can read everything."""
    try:
        client = client_for(seen.identity.server_version // 10000)
        with open_session(world.databases.snapshot_dsn(), _SESSION) as session:
            found = preflight(session, client)
    except BackoutError as error:
        yield Check("versions", CheckState.FAIL, error.what, error.next)
        return
    yield decide.version_check(seen, found[0], client.version)
    yield from found[1:]


def _room(app: Application, world: World, source: SourceFacts) -> Room:
    """The store, and the copies too when they lie on the same disk."""
    root = world.store.root if isinstance(world.store, DirectoryStore) else app.state
    store, copies = _existing(root), _existing(app.state)
    need = source.size_bytes
    shares = isinstance(world.servers, LocalServers) and _device(store) == _device(copies)
    if shares:
        need += source.size_bytes * _COPY_FACTOR
    whole = not wants_radius(world.scope, source.size_bytes)
    return Room(str(store), shutil.disk_usage(store).free, need, whole)


def _backups(world: World, seen: ServerFacts) -> tuple[Check, ...]:
    """The configured backup tool, and whether the WAL of a migration gets there; nothing without one."""
    if world.backups is None:
        return ()
    with world.databases.snapshot(_SESSION) as session:
        may = world.backups.capabilities().archives or may_switch_wal(session)
        newest = standing.newest_wal_check(seen.archive, str(session.info.user), may=may)
        summaries = _summaries(world.backups, session)
    return standing.gathered("backups", (*world.backups.checks(), newest, *summaries))


def _summaries(backups: Backups, session: Session) -> tuple[Check, ...]:
    """Whether a backup copies only what changed; nothing where the tool or the server has no such thing."""
    if not backups.capabilities().summaries or (on := summarizes(session)) is None:
        return ()
    return (standing.summaries_check(read_source_facts(session).size_bytes, on=on),)


def _existing(path: Path) -> Path:
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())


def _device(path: Path) -> int:
    return os.stat(path).st_dev  # noqa: PTH116 - st_dev is all that is wanted


def _history(world: World, session: Session) -> Check:
    try:
        found, refused = attempt(lambda: history_facts(session, world.migrator))
    except BackoutError as error:
        return Check("history", CheckState.FAIL, error.what, error.next)
    if found is None:
        return Check("history", CheckState.UNKNOWN, refused, "GRANT SELECT on the history table to this role")
    return standing.history_check(found)


def _people(app: Application, world: World) -> PeopleFacts:
    solo = app.settings.policy_for(world.environment).solo or ""
    try:
        return PeopleFacts(world.policy.approvals, world.people.enrolled(), solo, "", "")
    except BackoutError as error:
        return PeopleFacts(world.policy.approvals, (), solo, error.what, error.next)


def capabilities(app: Application, target: str | None) -> Examined:
    """The table of `--can` and the SQL for an administrator. Rights are tried and rolled back.

    Raises what connecting raises, and `ConfigurationError` through a pooler in transaction mode.
    """
    name = app.target_name(target)
    world = app.world(name)
    with world.databases.operate(_SESSION) as session:
        identity = identify(session)
        who = asker(session, identity)
        rights = ask_rights(session)
    rows = table((*rights, may_stream(world.databases.snapshot_dsn())), who)
    lacking = tuple(row for row in rows if row.required and row.standing is not Standing.WORKS)
    checks = tuple(Check(row.name, CheckState.FAIL, row.without, row.grant) for row in lacking)
    first = "let an administrator run section 1 of the script"
    doctor = Doctor(
        name,
        checks,
        f"{first}, then: backout doctor --can" if checks else "backout doctor",
        *(world.environment, identity.target, not identity.in_recovery, identity.role),
        capabilities=rows,
        sql=script(rows, who),
    )
    return Examined(doctor)


def schema_script(app: Application, target: str | None) -> str:
    """The SQL that makes the schemas of ours for the role that operates."""
    world = app.world(app.target_name(target))
    with world.databases.operate(_SESSION) as session:
        return schema_sql(asker(session, identify(session)))
