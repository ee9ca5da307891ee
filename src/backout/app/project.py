"""A project as `init` finds it: tool, variable with the database, newest migrations; it is only read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backout import plugins
from backout.adapters.migrator import sources
from backout.adapters.migrator.detect import Detected, detect
from backout.errors import BackoutError
from backout.model.migration import History, MigrationFile
from backout.phases.readiness.plan import NEWEST, Source
from backout.ports.migrator import Migrator
from backout.sql.effects import effects
from backout.sql.scripts import meta_commands

_ENV_FILES = (".env", ".env.local", ".env.development", ".env.staging", ".env.production", ".env.example")
_DESCRIBED_BY = ("package.json", "alembic.ini", "pyproject.toml")
_URL_NAME = re.compile(r"(?=.*(?:DATABASE|POSTGRES|PG|DB|DIRECT))(?=.*(?:URL|URI|DSN))[A-Z][A-Z0-9_]*\Z")
_NOT_OURS = re.compile(r"TEST|SHADOW|REDIS|MONGO|MYSQL|AMQP")
_DIRECT = re.compile(r"DIRECT|UNPOOLED|NON_POOLING|SESSION")
_DEFAULT_NAME = "DATABASE_URL"
_SCHEMA_FILES = ("schema.sql", "db/schema.sql", "db/structure.sql", "database/schema.sql", "sql/schema.sql")
_LONGEST_SCRIPT = 1_000_000


@dataclass(slots=True)
class Notes:
    """What is rough, one line each, in the order in which it was met."""

    lines: list[str] = field(default_factory=list)

    def add(self, *lines: str) -> None:
        """Each line once."""
        self.lines += [line for line in dict.fromkeys(lines) if line not in self.lines]


@dataclass(frozen=True, slots=True)
class Variable:
    """The environment variable that the configuration will name."""

    name: str
    usable: bool
    """It holds something that can be a PostgreSQL connection string."""
    note: str
    """What a person has to do about it; empty when it is usable."""
    files: tuple[str, ...]
    """Env files that name it."""


@dataclass(frozen=True, slots=True)
class Project:
    """What was found in the project's directory."""

    directory: Path
    tool: Detected | None
    migrator: Migrator | None
    version: str
    """The tool and its version; empty when none was recognised."""
    files: tuple[MigrationFile, ...]
    variable: Variable
    looked_at: str

    @property
    def options(self) -> dict[str, str]:
        """Keys of `[target.NAME.migrations]` besides the tool."""
        return options_of(self.tool) if self.tool else {}


def look_at(directory: Path, named_variable: str | None, notes: Notes) -> Project:
    """Look; what is rough goes into `notes`, nothing of it stops the look."""
    tool = _tool(directory, notes)
    migrator = _migrator(directory, tool, notes)
    files = _files(migrator, notes)
    variable = _variable(directory, tool, named_variable, notes)
    notes.add(*_unreadable_scripts(directory, files))
    looked_at = _looked_at(directory, tool, len(files), variable)
    return Project(directory, tool, migrator, _version(migrator, notes), files, variable, looked_at)


def _tool(directory: Path, notes: Notes) -> Detected | None:
    found = detect(directory)
    if not found:
        notes.add("no migration tool was recognised here")
        return None
    notes.add(*found[0].warnings)
    notes.add(*(f"also found {other.tool} in {other.directory}: not used" for other in found[1:]))
    return found[0]


def options_of(tool: Detected) -> dict[str, str]:
    """What was detected, as the adapter's options."""
    given = {"directory": tool.directory, "config": tool.config, **tool.options}
    return {key: value for key, value in given.items() if value}


def _migrator(directory: Path, tool: Detected | None, notes: Notes) -> Migrator | None:
    if tool is None:
        return None
    try:
        return plugins.migrator(tool.tool, directory.absolute(), options_of(tool))
    except BackoutError as error:
        notes.add(error.what)
        return None


def _files(migrator: Migrator | None, notes: Notes) -> tuple[MigrationFile, ...]:
    try:
        return migrator.files() if migrator is not None else ()
    except BackoutError as error:
        notes.add(error.what)
        return ()


def _version(migrator: Migrator | None, notes: Notes) -> str:
    if migrator is None:
        return ""
    try:
        return migrator.version()
    except BackoutError as error:
        notes.add(error.what)
        return migrator.name


def _variable(directory: Path, tool: Detected | None, named: str | None, notes: Notes) -> Variable:
    """The variable that was named, else the likeliest: set before not set, direct before pooled."""
    files = _named_in_files(directory)
    if named is not None:
        return Variable(named, True, "", files.get(named, ()))
    told = tool.options.get("database_url_variable", "") if tool else ""
    names = {name for name in (*files, *os.environ) if _URL_NAME.match(name) and not _NOT_OURS.search(name)}
    names |= {told} - {""}
    if not names:
        return Variable(_DEFAULT_NAME, False, f"put the connection string into {_DEFAULT_NAME}", ())
    name = min(names, key=lambda n: (not _is_set(n), not _DIRECT.search(n), n != told, n != _DEFAULT_NAME, n))
    direct = [other for other in sorted(names) if _DIRECT.search(other)]
    if direct and name not in direct:
        notes.add(f"{direct[0]} is named in {', '.join(files.get(direct[0], ('env',)))}, but not set here")
    note = "" if _is_set(name) else f"{name} is not set here: export it"
    return Variable(name, _is_set(name), note, files.get(name, ()))


def _is_set(name: str) -> bool:
    return re.match(r"postgres(ql)?(\+\w+)?://|\w+\s*=", os.environ.get(name, "")) is not None


def _named_in_files(directory: Path) -> Mapping[str, tuple[str, ...]]:
    """Names of variables in env files, with the files; values are not looked at."""
    found: dict[str, tuple[str, ...]] = {}
    for file in _ENV_FILES:
        for name in sources.assignments(directory / file):
            found[name] = (*found.get(name, ()), file)
    return found


def newest(project: Project, history: History, notes: Notes) -> list[Source]:
    """The newest applied migrations as text, oldest first; without a history the newest files."""
    files = {file.name: file for file in project.files}
    applied = [row.name for row in history.rows] or list(files)
    gone = [name for name in applied if name not in files]
    if gone and files:
        notes.add(f"{len(gone)} applied migrations have no file here, e.g. {gone[-1]}")
    chosen = [files[name] for name in applied[-NEWEST:] if name in files]
    return [Source(file.name, tuple(_texts(project.directory, file))) for file in chosen]


def _texts(directory: Path, file: MigrationFile) -> Iterator[tuple[str, bool]]:
    for path in file.paths:
        text = _text(directory / path)
        if text:
            yield text, path.endswith(".sql")


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LONGEST_SCRIPT:
            return ""
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def _unreadable_scripts(directory: Path, files: tuple[MigrationFile, ...]) -> Iterator[str]:
    """SQL that PostgreSQL's own grammar does not take: schema files, and the newest migrations.

    Dumps with data or commands of psql are left alone.
    """
    newest_paths = [path for file in files[-NEWEST:] for path in file.paths if path.endswith(".sql")]
    for name in dict.fromkeys((*_SCHEMA_FILES, *newest_paths)):
        text = _text(directory / name)
        if not text or "FROM stdin" in text or meta_commands(text):
            continue
        if any(effect.other == "not understood" for effect in effects(text)):
            yield f"{name}: holds a statement that is no PostgreSQL"


def _looked_at(directory: Path, tool: Detected | None, files: int, variable: Variable) -> str:
    parts = [name for name in _DESCRIBED_BY if (directory / name).is_file()]
    if tool is not None:
        parts.append(f"{tool.directory.rstrip('/')}/ ({files} files)")
    return ", ".join(_placed((*parts, *variable.files, "environment")))


def _placed(parts: Iterable[str]) -> Iterator[str]:
    """The first file says where it lies: `./package.json`."""
    for index, part in enumerate(parts):
        yield f"./{part}" if index == 0 and part != "environment" else part
