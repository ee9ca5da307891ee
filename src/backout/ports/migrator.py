"""The user's migration tool, driven by its real interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from backout.model.check import Check
from backout.model.migration import History, MigrationFile

if TYPE_CHECKING:  # a port names the driver's types and never loads the driver
    from psycopg import Connection


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the tool shall connect: our proxy. `password` is the run's own, good for this proxy only."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    server_name: str = "localhost"
    """Host name of the real server; the proxy's certificate is valid for it too."""
    ca_file: Path | None = None
    """PEM file of the proxy's CA, when it speaks TLS towards the tool."""
    crl_file: Path | None = None
    """PEM file with that CA's list of revoked certificates (it is empty), for clients that ask for one."""


@dataclass(frozen=True, slots=True)
class ToolEnvironment:
    """Environment and temporary files that point a child process at an endpoint; never argv."""

    variables: Mapping[str, str] = field(repr=False)
    arguments: tuple[str, ...] = ()
    """Extra arguments, without secrets (e.g. `--config-file wrapper.cjs`)."""
    endpoint: Endpoint | None = None
    directory: Path | None = None
    """Private directory with generated files; removed by the caller."""
    remove: tuple[str, ...] = ()
    """Variables of the user's environment that must not reach the child (production's DSN)."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """How the tool ended. It says nothing about success: only history and schema do."""

    exit_code: int
    output: str
    seconds: float
    timed_out: bool = False


Verb = Callable[[ToolEnvironment], ToolResult]
"""Starts something in the environment that it is given and waits for its end."""


class Recovery(StrEnum):
    """What to do after a tool that died in the middle."""

    REPEAT = "repeat"
    FINISH_HISTORY = "finish history"
    DONE = "done"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen after an interrupted down."""

    history_has_it: bool
    schema_is_before: bool
    """The schema still equals the one before the down."""
    schema_is_after: bool
    """The schema equals the one the rehearsal ended with."""


@runtime_checkable
class MarksDirty(Protocol):
    """A tool that marks a version dirty while it runs and leaves the mark after a failure: golang-migrate."""

    def settle(self, connection: Connection, remaining: str | None) -> str:
        """The one statement after which the history says that `remaining` was the last to be applied,
        cleanly (None: nothing was); what the tool's own `force` does. Empty when no mark is there."""
        ...


class Migrator(Protocol):
    """One adapter per migration tool.

    Must: read history and files without changing anything; name the real command; point the tool at
    `endpoint` by environment and temporary files only; run the down of exactly the newest `count`
    migrations. Must never: put a DSN in argv, edit the user's files, believe the tool's exit code.
    Errors: `ConfigurationError` for what the user can mend, `NeighbourUnreachable` when the tool
    cannot be started.
    """

    name: str
    """`node-pg-migrate`, `sql`, `alembic`."""

    @property
    def history_is_in_down_transaction(self) -> bool:
        """Whether the history row goes in the down's own transaction (unless that one left it itself)."""
        ...

    def version(self) -> str:
        """The tool and its version, e.g. `node-pg-migrate 9.0.0`."""
        ...

    def checks(self) -> tuple[Check, ...]:
        """Is the tool startable, its configuration readable, its directory there; never raises."""
        ...

    def history(self, connection: Connection) -> History: ...

    def files(self) -> tuple[MigrationFile, ...]:
        """Migrations on disk, oldest first, in the tool's own order."""
        ...

    def find_missing(self, name: str) -> MigrationFile | None:
        """Look for a migration that is not on disk: git history, stored copies."""
        ...

    def redirect(self, endpoint: Endpoint, directory: Path) -> ToolEnvironment: ...

    def environment_digest(self) -> str:
        """Digest of what decides the tool's behaviour: version, command, configuration files."""
        ...

    def probe(self, environment: ToolEnvironment, deadline: float) -> ToolResult | None:
        """Run the tool's read-only verb in this environment; None when it has none."""
        ...

    def unapply(self, count: int, environment: ToolEnvironment, deadline: float) -> ToolResult:
        """Run the downs of the newest `count` migrations, ended after `deadline` seconds."""
        ...

    def apply(self, count: int, environment: ToolEnvironment, deadline: float) -> ToolResult:
        """Run the up of the next `count` migrations; only ever used on copies of ours."""
        ...

    def recover(self, observation: Observation) -> Recovery: ...

    def explain(self, arguments: tuple[str, ...]) -> str | None:
        """What the given command line would really do, when it differs from what it seems to say."""
        ...
