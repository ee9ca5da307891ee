"""The world of one target: its databases, the migration tool, scratch servers, the store, the people."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from backout import plugins, settings
from backout.adapters.people.ssh_keys import SshPeople
from backout.adapters.servers.local import LocalServers
from backout.adapters.servers.named import NamedServer
from backout.adapters.store.directory import DirectoryStore
from backout.adapters.traffic import options as traffic_options
from backout.errors import NeighbourUnreachable
from backout.model.gate import Policy
from backout.model.guard import GuardLimits
from backout.model.people import Role
from backout.model.plan import Budgets
from backout.model.validation import CheckKind, CheckSpec, ValidationPlan
from backout.phases.guard import registry
from backout.ports.backups import Backups, Surroundings
from backout.ports.servers import Servers
from backout.ports.traffic import Traffic
from backout.ports.world import NewPlace, Session, World
from backout.postgres.connect import database_named, fenced, open_session, place
from backout.postgres.pooling import refuse_pooler
from backout.settings import Dsn, Target

if TYPE_CHECKING:
    from backout.app.compose import Application


@dataclass(frozen=True, slots=True)
class TargetDatabases:
    """Sessions on one target; the DSN is resolved anew for every session and never kept.

    Raises what connecting raises, and `ConfigurationError` for a pooler in transaction mode: looked at once
    for each place, before anything is pinned there.
    """

    base: Path
    name: str
    target: Target
    _direct: set[str] = field(default_factory=set, repr=False, compare=False)

    def observe(self, name: str) -> Session:
        session = open_session(self._dsn("observe", self.target.dsn.observe), name)
        session.execute("SET default_transaction_read_only = on")
        return session

    def operate(self, name: str) -> Session:
        return open_session(self.operate_dsn(), name)

    def operate_dsn(self) -> str:
        return self._dsn("operate", self.target.dsn.operate)

    def snapshot(self, name: str) -> Session:
        return open_session(self.snapshot_dsn(), name)

    def snapshot_dsn(self) -> str:
        return self._dsn("snapshot", self.target.dsn.snapshot)

    def _dsn(self, purpose: str, chosen: Dsn | None) -> str:
        dsn = chosen or self.target.dsn.operate
        path = f"target.{self.name}.dsn.{purpose if chosen else 'operate'}"
        text = settings.resolve_dsn(dsn, self.base, path).get_secret_value()
        if place(text) not in self._direct:
            self._require_direct(text, dsn.source)
        return text

    def _require_direct(self, text: str, source: str) -> None:
        try:
            refuse_pooler(text, source)
        except NeighbourUnreachable as refusal:
            if not fenced(refusal):
                raise
            return  # who lifts the fence goes through another database of the cluster
        self._direct.add(place(text))


def world(application: Application, name: str) -> World:
    """The world of one target."""
    target = application.target(name)
    base = application.config_path.parent
    policy = application.settings.policy_for(target.environment)
    budgets = application.settings.budgets
    project = (base / target.migrations.project).resolve()
    options = {"directory": target.migrations.directory, **(target.migrations.model_extra or {})}
    return World(
        target=name,
        environment=target.environment,
        databases=TargetDatabases(base, name, target),
        migrator=plugins.migrator(target.migrations.tool, project, options),
        servers=servers(application, name),
        store=DirectoryStore(_store_root(application, target, base)),
        people=people(application),
        policy=Policy(
            target.environment,
            tuple(policy.approvals),
            policy.requester_may_approve,
            policy.scope,
            policy.valid_for / 3600,
            policy.solo or "",
        ),
        budgets=Budgets(
            lock_timeout=budgets.lock_timeout,
            lock_patience=budgets.lock_patience,
            lock_hold=budgets.lock_hold,
            statement_timeout=budgets.statement_timeout,
            lock_attempts=budgets.lock_attempts,
            disk_bytes=budgets.disk,
        ),
        validation=validation_plan(target),
        now=lambda: datetime.now(UTC),
        dump_jobs=target.snapshot.jobs or os.cpu_count() or 1,
        scope=target.snapshot.scope or "",
        guard=guard_limits(application),
        backups=backups(application, name),
        guarded=registry.newest_guard(application.journal, name),
        place=new_place(application, name),
        project=project,
        instances=application.state / "instances",
    )


def guard_limits(application: Application) -> GuardLimits:
    """The configured window and cap of guards."""
    chosen = application.settings.guard
    return GuardLimits(chosen.window, chosen.wal_cap)


def servers(application: Application, name: str) -> Servers:
    """Private scratch servers, or the server that the user named for copies."""
    scratch = application.target(name).snapshot.scratch
    if scratch is None:
        return LocalServers(application.state)
    base = application.config_path.parent
    path = f"target.{name}.snapshot.scratch"
    source: Callable[[], str] = lambda: settings.resolve_dsn(scratch, base, path).get_secret_value()  # noqa: E731
    return NamedServer(source)


def backups(application: Application, name: str, dsn: str = "") -> Backups | None:
    """The backup tool of the target, where one is configured; `dsn` only to take a backup."""
    chosen = application.target(name).backups
    if chosen is None:
        return None
    surroundings = Surroundings(
        application.state / "instances",
        application.config_path.parent,
        dsn,
        reserve_bytes=0,
        tell=application.tell,
    )
    return plugins.backups(chosen.tool, chosen.model_extra or {}, surroundings)


_PATHS = ("ini", "cfg", "file")
"""Options of levers that name a file; relative ones start at backout.toml."""


def database_of(application: Application, name: str) -> str:
    """The database as the target's connection string names it; nobody is connected to."""
    operate = application.target(name).dsn.operate
    path = f"target.{name}.dsn.operate"
    text = settings.resolve_dsn(operate, application.config_path.parent, path).get_secret_value()
    return database_named(text)


def new_place(application: Application, name: str) -> NewPlace | None:
    """Where a restored instance may serve; None when nothing says how traffic is moved."""
    chosen = application.target(name).traffic
    if chosen is None:
        return None
    base = application.config_path.parent
    path = f"target.{name}.traffic"

    def resolved(dsn: Dsn, key: str) -> str:
        return settings.resolve_dsn(dsn, base, f"{path}.{key}").get_secret_value()

    def traffic(database: str, new: str) -> Traffic:
        given: dict[str, object] = dict(chosen.model_extra or {})
        given |= {key: str(base / str(given[key])) for key in _PATHS if key in given}
        if chosen.admin is not None:
            given["admin"] = resolved(chosen.admin, "admin")
        login = traffic_options.link(resolved(chosen.application, "application"))
        state = application.state / "traffic"
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours = {"state": str(state), "new": new, "database": database, "application": login.user}
        return plugins.traffic(chosen.lever, {**ours, **given})

    return NewPlace(
        listen=chosen.listen,
        host=chosen.host,
        port=chosen.port,
        lever=chosen.lever,
        traffic=traffic,
        application=lambda: resolved(chosen.application, "application"),
        through=lambda: resolved(chosen.through, "through"),
        link=traffic_options.link,
        proof_seconds=chosen.proof,
        way_back_hours=chosen.way_back / 3600,
        canary_seconds=chosen.canary,
    )


def people(application: Application) -> SshPeople:
    """The enrolled people."""
    configured = application.settings.people
    file = application.config_path.parent / (configured.allowed_signers or "allowed_signers")
    roles = {
        name: tuple(Role(role) for role in person.roles)
        for name, person in (configured.__pydantic_extra__ or {}).items()
    }
    return SshPeople(file, roles)


def _store_root(application: Application, target: Target, base: Path) -> Path:
    return base / target.snapshot.store if target.snapshot.store else application.state / "store"


def validation_plan(target: Target) -> ValidationPlan:
    """The configured checks as records, in order of their names."""
    specs = []
    for name, check in sorted(target.checks.items()):
        kind, subject = _kind_and_subject(check)
        options = {"timeout": f"{check.timeout:g}", "settle": f"{check.settle:g}"}
        options |= {
            k: v for k, v in (("processed", check.processed), ("remove", check.remove)) if v is not None
        }
        options |= _on_copy(check)
        specs.append(
            CheckSpec(name, kind, subject, "" if check.expect is None else str(check.expect), options)
        )
    return ValidationPlan(tuple(specs), target.allow_writes)


def _on_copy(check: settings.CheckSettings) -> dict[str, str]:
    """What concerns copies alone; nothing where nothing was set, so that the plan's digest stays."""
    if not check.on_copy:
        return {}
    return {"on_copy": "yes", **({"worker": "\0".join(check.worker)} if check.worker else {})}


def _kind_and_subject(check: settings.CheckSettings) -> tuple[CheckKind, str]:
    if check.insert is not None:
        return CheckKind.SMOKE_WRITE, check.insert
    if check.regclass is not None:
        return CheckKind.REGCLASS, check.regclass
    if check.command is not None:
        return CheckKind.COMMAND, "\0".join(check.command)
    if check.http is not None:
        return (CheckKind.SMOKE_READ if check.smoke else CheckKind.HTTP), check.http
    assert check.sql is not None
    return (CheckKind.SMOKE_READ if check.smoke else CheckKind.SQL), check.sql
