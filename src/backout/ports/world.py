"""The world of one target, as the phases see it: its ports and the decisions of its owners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from backout.model.gate import Policy
from backout.model.guard import Guard, GuardLimits
from backout.model.plan import Budgets
from backout.model.validation import ValidationPlan
from backout.ports.backups import Backups
from backout.ports.migrator import Migrator
from backout.ports.people import People
from backout.ports.servers import Servers
from backout.ports.store import Store
from backout.ports.traffic import Link, Traffic

if TYPE_CHECKING:
    from psycopg import Connection

Session: TypeAlias = "Connection[tuple[Any, ...]]"
"""An open session; the driver's class, named here only for its type."""


class Databases(Protocol):
    """Sessions on the target. Every call reads the DSN anew (tokens expire) and never shows it."""

    def observe(self, name: str) -> Session:
        """A read-only session of the observer role."""
        ...

    def operate(self, name: str) -> Session:
        """A session of the owner role."""
        ...

    def operate_dsn(self) -> str:
        """The connection string of the owner role: for the proxy and pg_dump, never printed."""
        ...

    def snapshot(self, name: str) -> Session:
        """A session of the role that takes snapshots: it may switch the WAL where anybody may."""
        ...

    def snapshot_dsn(self) -> str: ...


@dataclass(frozen=True, slots=True)
class NewPlace:
    """Where a restored instance may serve, and how traffic gets there. Connection strings are read anew at
    each call and never shown."""

    listen: str
    host: str
    """Of this machine, as the application or its pooler reaches it."""
    port: int
    lever: str
    traffic: Callable[[str, str], Traffic]
    """The lever, given the application's database and a connection string of ours to another database of
    the new side."""
    application: Callable[[], str]
    """The application's login, straight to the old side."""
    through: Callable[[], str]
    """The same through the lever."""
    link: Callable[[str], Link]
    """A connection string as a dead-man opens it."""
    proof_seconds: float = 900.0
    way_back_hours: float = 48.0
    canary_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside that a story may use. `now` is the wall clock; durations never use it."""

    target: str
    environment: str
    databases: Databases
    migrator: Migrator
    servers: Servers
    store: Store
    people: People
    policy: Policy
    budgets: Budgets
    validation: ValidationPlan
    now: Callable[[], datetime]
    dump_jobs: int = 2
    scope: str = "whole"
    guard: GuardLimits = field(default_factory=GuardLimits)
    backups: Backups | None = None
    """The backup tool of the target's cluster; None = none is configured."""
    guarded: Guard | None = None
    """The newest guard of this target that is armed, as the journal knows it."""
    place: NewPlace | None = None
    """Where a restored instance may serve; None = nothing says how traffic is moved."""
    project: Path = Path()
    """Directory of the migration project; paths of migration files are relative to it."""
    instances: Path = Path()
    """Directory in which restored instances are recorded and made."""
