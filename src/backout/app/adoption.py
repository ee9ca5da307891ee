"""`init`: look at a project and its database, only reading, and write a backout.toml that works at once."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from backout import settings
from backout.app.project import Notes, Project, look_at, newest
from backout.app.results import Initialised, Todo
from backout.errors import BackoutError, ConfigurationError
from backout.model.migration import History
from backout.phases.readiness import configuration, plan
from backout.phases.readiness.configuration import Draft
from backout.phases.readiness.gather import dotted
from backout.ports.world import Session
from backout.postgres.asking import ask, attempt
from backout.postgres.catalog import read_schema
from backout.postgres.connect import identify, open_session
from backout.postgres.pooling import refuse_pooler
from backout.postgres.source_facts import is_on_this_machine
from backout.render import words

_SESSION = "backout/init/0"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed."""

    directory: Path
    target: str | None = None
    dsn_env: str | None = None
    force: bool = False

    @property
    def path(self) -> Path:
        """The file that will be written."""
        return self.directory / settings.FILE_NAME


@dataclass(frozen=True, slots=True)
class _Database:
    """What was read from the database."""

    name: str
    host: str
    local: bool
    shown: str
    history: History
    applied: int | None
    """Rows of the history table."""
    left_out: tuple[str, ...]
    """Tables that the newest migration made."""
    floors: tuple[plan.Floor, ...]


def initialise(asked: Asked) -> Initialised:
    """Look, then write. Nothing else is changed, neither in the project nor in the database.

    Raises `ConfigurationError` when there is a backout.toml already, or when the named variable is not
    set. A database that does not answer only makes the file poorer, unless its variable was named.
    """
    _refuse_to_overwrite(asked)
    notes = Notes()
    project = look_at(asked.directory, asked.dsn_env, notes)
    database = _database(asked, project, notes)
    draft = _draft(asked, project, database)
    text = configuration.text_of(draft)
    settings.parse(text, str(asked.path))  # what is written can be read, or nothing is written
    _write(asked, text)
    return Initialised(
        path=str(asked.path),
        lines=len(text.splitlines()),
        looked_at=project.looked_at,
        target=draft.target,
        environment=draft.environment,
        tool=project.version,
        history=database.history.table if database else "",
        dsn_env=project.variable.name,
        database=database.shown if database else "",
        checks=tuple(check.key for check in draft.checks),
        todo=tuple(Todo(what, line) for what, line in configuration.todo_of(text)),
        rough=tuple(notes.lines),
        next=_following(asked, project),
    )


def _refuse_to_overwrite(asked: Asked) -> None:
    if not asked.directory.is_dir():
        raise ConfigurationError(
            f"no directory {asked.directory}",
            where=str(Path.cwd()),
            intact="everything; nothing was done",
            next="backout init --dir DIRECTORY",
        )
    if asked.path.exists() and not asked.force:
        raise ConfigurationError(
            f"there is a {settings.FILE_NAME} already",
            where=str(asked.path),
            intact="that file; nothing was looked at",
            next=f"edit it, or write it anew: backout init --force --dir {shlex.quote(str(asked.directory))}",
        )


def _database(asked: Asked, project: Project, notes: Notes) -> _Database | None:
    """Read what the file needs; without a database the file has more TODOs."""
    variable = project.variable
    if not variable.usable:
        return None
    dsn = settings.Dsn(env=variable.name, file=None, service=None, command=None)
    try:
        text = settings.resolve_dsn(dsn, asked.directory, "--dsn-env").get_secret_value()
        refuse_pooler(text, variable.name)  # first: what we pin would stay on a shared backend
        with open_session(text, _SESSION) as session:
            session.execute("SET default_transaction_read_only = on")
            found, refused = attempt(lambda: _read(session, project, notes))
    except BackoutError as error:
        if asked.dsn_env is not None:
            raise
        notes.add(f"{variable.name}: {error.what}")
        return None
    if found is None:
        notes.add(f"{variable.name}: {refused}")
    return found


def _read(session: Session, project: Project, notes: Notes) -> _Database:
    identity = identify(session)
    history = _history(session, project, notes)
    schema = read_schema(session)
    touched = plan.touched(newest(project, history, notes), schema, history.table)
    chosen = touched.tables or plan.largest(session, schema, (history.table, *touched.made_by_newest))
    size = ask(session, "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())")
    version = f"PostgreSQL {dotted(identity.server_version)}"
    place = "standby" if identity.in_recovery else "primary"
    return _Database(
        name=identity.target.database,
        host=identity.target.host,
        local=is_on_this_machine(session),
        shown=f"{version}, {words.size(int(size.value or 0))}, {place}",
        history=history,
        applied=plan.rows_of(session, history.table) if history.table else None,
        left_out=touched.made_by_newest,
        floors=plan.floors(session, chosen),
    )


def _history(session: Session, project: Project, notes: Notes) -> History:
    migrator = project.migrator
    if migrator is None:
        return History("", (), "")
    try:
        found, refused = attempt(lambda: migrator.history(session))
    except BackoutError as error:
        found, refused = None, error.what
    if found is None:
        notes.add(f"the history table cannot be read: {refused}")
        return History("", (), migrator.name)
    if not found.table:
        notes.add("the database has no history table of this tool: nothing applied, or another name")
    return found


def _draft(asked: Asked, project: Project, database: _Database | None) -> Draft:
    name = database.name if database else ""
    hints = [asked.target or "", project.variable.name, name, database.host if database else ""]
    environment, because = configuration.environment_of(database.local if database else None, hints)
    directory = asked.directory.absolute().name
    unanswered = project.variable.usable and database is None
    note = f"{project.variable.name} did not lead to a database" if unanswered else project.variable.note
    history = database.history if database else History("", (), "")
    return Draft(
        target=configuration.target_name(asked.target, name, directory, environment),
        environment=environment,
        because=because,
        dsn_env=project.variable.name,
        dsn_note=note,
        tool=project.tool.tool if project.tool else "",
        migrations=project.options,
        migrations_note=f"history in {history.table}, {len(history.rows)} applied" if history.table else "",
        checks=plan.checks_of(history.table, database.applied, database.floors) if database else (),
        left_out=database.left_out if database else (),
    )


def _write(asked: Asked, text: str) -> None:
    """Whole or not at all; without `force` never over a file that came meanwhile."""
    beside = asked.path.with_name(f".{settings.FILE_NAME}.new")
    try:
        if asked.force:
            beside.write_text(text, encoding="utf-8")
            beside.replace(asked.path)
        else:
            with asked.path.open("x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError:
        _refuse_to_overwrite(asked)
    except OSError as error:
        raise ConfigurationError(
            f"{settings.FILE_NAME} cannot be written: {error.strerror}",
            where=str(asked.directory),
            intact="everything",
            next="backout init --dir DIRECTORY",
        ) from None


def _following(asked: Asked, project: Project) -> str:
    here = asked.directory.resolve() == Path.cwd().resolve()
    command = "backout doctor" if here else f"backout doctor --config {shlex.quote(str(asked.path))}"
    variable = project.variable
    return command if variable.usable else f"export {variable.name}=..., then: {command}"
