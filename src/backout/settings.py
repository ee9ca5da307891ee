"""backout.toml and the environment: parsed, checked, with errors that name the place."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from backout.errors import ConfigurationError

FILE_NAME = "backout.toml"
_SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: object) -> object:
    """`200ms`, `2m`, `30m`, `4h`, `90d` or a bare number of seconds, as seconds."""
    if isinstance(value, int | float):
        return float(value)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)?\s*", str(value))
    if found is None:
        raise ValueError(f"{value!r} is not a span; write 200ms, 30s, 5m, 4h or 90d")
    return float(found.group(1)) * _UNITS[(found.group(2) or "s").replace("min", "m")]


Span = Annotated[
    float,
    BeforeValidator(seconds),
    WithJsonSchema({"type": ["number", "string"], "title": "Span", "examples": ["200ms", "30s", "90d"]}),
]


def size(value: object) -> object:
    """`8GB`, `500 MB` (10^9, 10^6) or a bare number of bytes, as bytes."""
    if isinstance(value, int):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]?B)\s*", str(value))
    if found is None:
        raise ValueError(f"{value!r} is not a size; write 500MB or 8GB")
    return int(float(found.group(1)) * _SIZES[found.group(2)])


Size = Annotated[
    int,
    BeforeValidator(size),
    WithJsonSchema({"type": ["integer", "string"], "title": "Size", "examples": ["500MB", "8GB"]}),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Dsn(_Strict):
    """Where one connection string is read from, each time it is needed; never stored, never shown."""

    env: str | None = Field(None, description="Name of an environment variable.")
    file: str | None = Field(None, description="A file that holds the connection string.")
    service: str | None = Field(None, description="A service of pg_service.conf.")
    command: list[str] | None = Field(
        None, description="A command that prints it; run again for every session (short-lived tokens)."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Dsn:
        if sum(v is not None for v in (self.env, self.file, self.service, self.command)) != 1:
            raise ValueError("give exactly one of env, file, service, command")
        return self

    @property
    def source(self) -> str:
        """Where it is read from, in words; never what it says."""
        if self.command is not None:
            return "the DSN command"
        return self.env or (f"service {self.service}" if self.service else str(self.file))


class Dsns(_Strict):
    """One DSN is enough: observe and snapshot default to operate."""

    operate: Dsn = Field(description="The role that runs the down and keeps the values.")
    observe: Dsn | None = Field(None, description="A role that only reads; default: operate.")
    snapshot: Dsn | None = Field(None, description="The role that dumps; default: operate.")


class Migrations(_Strict):
    """The migration tool of this target. Other keys are handed to its adapter."""

    model_config = ConfigDict(extra="allow", frozen=True)
    tool: str = Field(description="node-pg-migrate, sql, alembic, or the name of an installed adapter.")
    directory: str = Field("migrations", description="Directory of the migration files, in the project.")
    project: str = Field(".", description="Directory in which the tool runs, relative to this file.")


class SnapshotSettings(_Strict):
    """Where snapshots go and where they are restored to be proven."""

    store: str | None = Field(None, description="Directory of the store; default: <state>/store.")
    scratch: Dsn | None = Field(None, description="A server of yours for copies; default: a private one.")
    scope: Literal["whole", "blast radius"] | None = Field(
        None, description="How much a proof covers; default: whole up to 1 GB, above it the blast radius."
    )
    jobs: int | None = Field(None, ge=1, description="Parallel dump and restore jobs; default: cores.")


class BackupSettings(_Strict):
    """The backup tool of the target's cluster. Other keys are handed to its adapter."""

    model_config = ConfigDict(extra="allow", frozen=True)
    tool: str = Field(description="base_backup, pgbackrest, barman, or the name of an installed adapter.")


class TrafficSettings(_Strict):
    """How the application's traffic is moved to a restored instance, and where that one answers. Other keys
    are handed to the lever's adapter."""

    model_config = ConfigDict(extra="allow", frozen=True)
    lever: str = Field(
        description="pgbouncer, multi-host, haproxy, file, command, or the name of an installed adapter."
    )
    application: Dsn = Field(
        description="The application's own login, straight to the database; no superuser. It tries the fence."
    )
    through: Dsn = Field(description="The same login the way the application goes: through the pooler.")
    admin: Dsn | None = Field(None, description="The console of the pooler.")
    listen: str = Field("127.0.0.1", description="Address on which a restored instance listens.")
    host: str = Field("127.0.0.1", description="How the application or its pooler reaches this machine.")
    port: int = Field(5433, ge=1, le=65535, description="Port of a restored instance.")
    canary: Span = Field(
        0.0, description="How long instances that only read may try the restored side before traffic moves."
    )
    proof: Span = Field(15 * 60.0, description="How long stale writers are looked for after the move.")
    way_back: Span = Field(
        48 * 3600.0, description="How long the way back to the old side stays armed; it retains WAL."
    )


class CheckSettings(_Strict):
    """One check of the validation plan; exactly one of sql, regclass, http, command."""

    sql: str | None = Field(None, description="One query; the first column of its first row is the answer.")
    regclass: str | None = Field(None, description="Name of a table, index, ...; is it there?")
    http: str | None = Field(None, description="URL that is asked three times, without following redirects.")
    command: list[str] | None = Field(None, description="Program and arguments; its exit code is the answer.")
    expect: str | int | None = Field(None, description="`= 3`, `>= 184203`, `200`, `present`, ...")
    smoke: Literal["read", "write"] | None = Field(
        None, description="Marks an application smoke test; write only runs with allow_writes."
    )
    timeout: Span = Field(10.0, description="How long one question may take.")
    settle: Span = Field(30.0, description="For smoke = write: how long the ETL may take.")
    insert: str | None = Field(
        None, description="smoke = write: SQL that inserts a marked row, RETURNING key."
    )
    processed: str | None = Field(None, description="smoke = write: SQL that is true once it was processed.")
    remove: str | None = Field(None, description="smoke = write: SQL that removes the marked row again.")
    on_copy: bool = Field(
        False, description="command, smoke = write: may also be run at a restored copy (`restore`)."
    )
    worker: list[str] | None = Field(
        None, description="smoke = write at a copy: program that processes the marked row, run once there."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> CheckSettings:
        given = [v for v in (self.sql, self.regclass, self.http, self.command, self.insert) if v is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of sql, regclass, http, command, insert")
        return self


class Target(_Strict):
    """One database that can be backed out."""

    environment: str = Field(description="production, staging, ...: which policy holds.")
    dsn: Dsns = Field(description="Where the connection strings are read from.")
    migrations: Migrations = Field(description="The migration tool.")
    snapshot: SnapshotSettings = Field(SnapshotSettings(), description="Snapshots and scratch servers.")
    backups: BackupSettings | None = Field(
        None, description="Base backups and archived WAL, to restore to just before a migration."
    )
    traffic: TrafficSettings | None = Field(
        None, description="For strategy B: how traffic is moved to a restored instance."
    )
    checks: dict[str, CheckSettings] = Field(
        {}, description="The validation plan, one table a check; an empty plan keeps the gate shut."
    )
    allow_writes: bool = Field(False, description="Smoke tests may write a marked row.")


class BudgetSettings(_Strict):
    """Limits on what a run may ask of a production; they are part of what people approve."""

    lock_timeout: Span = Field(0.2, description="The longest single wait for a lock.")
    lock_patience: Span = Field(120.0, description="All waits for locks together; then the run stops safely.")
    lock_attempts: int | None = Field(
        None, ge=1, description="The most tries for one lock; without it lock_patience alone bounds them."
    )
    lock_hold: Span = Field(1.0, description="How long the down may hold its locks; then it is rolled back.")
    statement_timeout: Span = Field(600.0, description="The longest single statement of the tool.")
    connections: int = Field(8, ge=1, description="Connections that doctor wants to see free.")
    disk: Size | None = Field(
        None, description="Most that kept values may need on the target's disk, WAL included; default: any."
    )


class GuardSettings(_Strict):
    """What is armed before a migration: how long it stays, and how much it may hold back."""

    window: Span = Field(
        24 * 3600.0, description="A guard drops itself after this; so long it carries writes."
    )
    wal_cap: Size = Field(8 * 10**9, description="WAL that its slot may hold back before it drops itself.")


class Kept(_Strict):
    """Kept values; backout never drops them by itself."""

    retention: Span = Field(
        90 * 86400.0, description="How long kept values are wanted: before that `kept drop` refuses."
    )


class Channels(_Strict):
    """Where notices go; every notice is in the journal too."""

    file: str | None = Field(None, description="Notices are appended to this file.")
    command: list[str] = Field(
        [],
        description="Program and arguments that get every notice on stdin, for chat and mail; in its "
        "environment are BACKOUT_INCIDENT and BACKOUT_AUDIENCE.",
    )
    update_every: Span = Field(20 * 60.0, description="How often stakeholders are promised an update.")


class PolicySettings(_Strict):
    """What the gate demands in one environment."""

    approvals: list[Literal["sre", "owner", "any", "solo"]] = Field(
        ["sre", "owner"], description="One distinct person for each entry."
    )
    requester_may_approve: bool = Field(
        True, description="Whether who asked for the proposal may fill one of the slots."
    )
    scope: Literal["whole", "blast radius", "recorded"] = Field(
        "blast radius", description="The least that the proven snapshot has to cover."
    )
    valid_for: Span = Field(4 * 3600.0, description="How long a proposal may be approved and run.")
    solo: str | None = Field(None, description="For approvals = ['solo']: the one person, by name.")


class PersonSettings(_Strict):
    """One enrolled person, under their name in allowed_signers."""

    roles: list[Literal["sre", "owner"]] = Field([], description="As what they may approve.")


class People(_Strict):
    """`allowed_signers` and, for each enrolled name, its roles."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, PersonSettings]
    allowed_signers: str | None = Field(
        None, description="File of OpenSSH public keys; default: allowed_signers beside this file."
    )


class Settings(_Strict):
    """The whole of backout.toml."""

    target: dict[str, Target] = Field({}, description="One table for each database.")
    budgets: BudgetSettings = Field(BudgetSettings(), description="Limits on a run.")
    guard: GuardSettings = Field(GuardSettings(), description="Guards before migrations.")
    kept: Kept = Field(Kept(), description="Kept values.")
    people: People = Field(People(), description="Who may approve.")
    channels: Channels = Field(Channels(), description="Where notices go.")
    policy: dict[str, PolicySettings] = Field({}, description="What the gate demands, by environment.")

    def policy_for(self, environment: str) -> PolicySettings:
        """The configured policy, else the default: two people, except on staging where anybody will do."""
        if environment in self.policy:
            return self.policy[environment]
        if environment in ("staging", "development", "test"):
            return PolicySettings(approvals=["any"], scope="whole")
        return PolicySettings()


def find_file(start: Path) -> Path | None:
    """backout.toml in `start` or the nearest directory above it; `$BACKOUT_CONFIG` beats both."""
    named = os.environ.get("BACKOUT_CONFIG")
    if named:
        return Path(named)
    for directory in (start, *start.parents):
        if (directory / FILE_NAME).is_file():
            return directory / FILE_NAME
    return None


def load(path: Path) -> Settings:
    """Read and check a configuration file.

    Raises `ConfigurationError` with the line for bad syntax, with the dotted path for a bad value.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"no {path.name} at {path.parent}",
            where=str(path.parent),
            intact="everything",
            next="backout init",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path.name} cannot be read: {_reason(error)}",
            where=str(path),
            intact="everything; nothing was done",
            next=f"mend the file's rights or encoding (UTF-8): {path}",
        ) from None
    return parse(text, str(path))


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def parse(text: str, where: str) -> Settings:
    """Settings from TOML text; `where` names it in errors."""
    try:
        return Settings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"backout.toml: {error}",
            where=where,
            intact="everything; nothing was done",
            next=f"mend it: {where}",
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(
            f"backout.toml: {path or 'top level'}: {message}",
            where=where,
            intact="everything; nothing was done",
            next=f"mend it: {where}",
        ) from None


def json_schema() -> Mapping[str, Any]:
    """JSON Schema of backout.toml, published under docs/reference/."""
    return Settings.model_json_schema()


def resolve_dsn(dsn: Dsn, base: Path, path: str) -> SecretStr:
    """The connection string itself; raises `ConfigurationError` naming the setting, never its value."""
    if dsn.env is not None:
        value = os.environ.get(dsn.env, "")
        if not value:
            raise ConfigurationError(
                f"{path}: the environment variable {dsn.env} is not set",
                where=path,
                intact="everything; nobody was connected to",
                next=f"export {dsn.env}=..., then: backout doctor",
            )
        return SecretStr(_plain_scheme(value))
    if dsn.service is not None:
        return SecretStr(f"service={dsn.service}")
    text = _from_file(base / dsn.file, path) if dsn.file is not None else _from_command(dsn, base, path)
    return SecretStr(_plain_scheme(text.strip()))


def _plain_scheme(text: str) -> str:
    """SQLAlchemy's `postgresql+driver://` as everybody else writes it; other text as it is."""
    return re.sub(r"\A(postgres(?:ql)?)\+\w+://", r"\1://", text)


def _from_file(file: Path, path: str) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {file} cannot be read: {error.strerror}",
            where=str(file),
            intact="everything; nobody was connected to",
            next="mend the file's rights or its name, then: backout doctor",
        ) from None


def _from_command(dsn: Dsn, base: Path, path: str) -> str:
    assert dsn.command is not None
    try:
        done = subprocess.run(  # noqa: S603 - the user's own configured command, no shell
            dsn.command, capture_output=True, text=True, timeout=60, cwd=base, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(
            f"{path}: the DSN command could not run: {type(error).__name__}",
            where=path,
            intact="everything; nobody was connected to",
            next="mend the command, then: backout doctor",
        ) from None
    if done.returncode != 0 or not done.stdout.strip():
        raise ConfigurationError(
            f"{path}: the DSN command ended with {done.returncode} and gave no DSN",
            where=path,
            intact="everything; nobody was connected to",
            next="mend the command, then: backout doctor",
        )
    return done.stdout


def state_directory() -> Path:
    """`$BACKOUT_STATE`, else /var/lib/backout when writable, else the user's state directory."""
    named = os.environ.get("BACKOUT_STATE")
    if named:
        return Path(named)
    shared = Path("/var/lib/backout")
    if shared.is_dir() and os.access(shared, os.W_OK):
        return shared
    from platformdirs import user_state_path  # noqa: PLC0415 - rarely needed, costs start-up

    return user_state_path("backout")
