"""Plain SQL migrations, run by ourselves through the protocol as dbmate and golang-migrate run them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from psycopg import Connection

from backout.adapters.migrator import (
    git_history,
    options,
    recovery,
    sources,
    sql_files,
    sql_history,
    sql_session,
)
from backout.adapters.migrator.sql_files import Layout, Script
from backout.adapters.migrator.sql_history import Book
from backout.adapters.migrator.sql_runner import Runner
from backout.errors import BackoutError, ConfigurationError, Refused
from backout.model.check import Check, CheckState
from backout.model.migration import DownKind, History, MigrationFile
from backout.ports.migrator import Endpoint, Observation, Recovery, ToolEnvironment, ToolResult
from backout.postgres.names import STATE_SCHEMA
from backout.sql.scripts import meta_commands

# From the catalog itself: `to_regclass` is an error for a role that may not use the schema.
_COPY_MARKER = """SELECT EXISTS (SELECT FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = 'copy_marker')"""


def from_settings(project: Path, given: Mapping[str, object]) -> SqlPairs:
    """Make the adapter from `[target.NAME.migrations]`; reads the env file for DBMATE_* only."""
    project = project.absolute()
    env_file = options.text(given, "env_file", ".env")
    dbmate = {
        name: value
        for name, value in sources.assignments(options.inside(project, env_file)).items()
        if name in ("DBMATE_MIGRATIONS_DIR", "DBMATE_MIGRATIONS_TABLE")
    }
    said = options.table(given, "history")
    if not said and "DBMATE_MIGRATIONS_TABLE" in dbmate:
        said = {"table": dbmate["DBMATE_MIGRATIONS_TABLE"]}
    directory = options.text(given, "directory") or dbmate.get("DBMATE_MIGRATIONS_DIR") or "db/migrations"
    return SqlPairs(
        project, options.inside(project, directory), said, options.truth(given, "multi_statement")
    )


class SqlPairs:
    """The adapter: files and history of such tools, with our own hand on the statements."""

    name = "sql"

    def __init__(
        self, project: Path, directory: Path, history: Mapping[str, str], multi_statement: bool
    ) -> None:
        self._project = project
        self._directory = directory
        self._history = history
        self._multi_statement = multi_statement

    @property
    def history_is_in_down_transaction(self) -> bool:
        """dbmate: yes. With pairs the table may be golang-migrate's, which it writes around the script."""
        return self._layout() is Layout.SINGLE

    def _layout(self) -> Layout:
        return sql_files.layout_of(self._directory)

    def _scripts(self) -> tuple[Script, ...]:
        return sql_files.scripts(self._project, self._directory)

    def version(self) -> str:
        """The scripts have no tool of their own here: backout sends them."""
        return f"sql {version('backout')}"

    def history(self, connection: Connection[Any]) -> History:
        """An empty `table` when there is none: then these migrations can be rehearsed, not run."""
        book = sql_history.find(connection, self._history)
        if book is None:
            return History("", (), self.name)
        known = [script.version for script in self._scripts()]
        rows = sql_history.read(connection, book, known, self._layout()).rows
        return History(book.table.shown, rows, self.name)

    def files(self) -> tuple[MigrationFile, ...]:
        authors = git_history.authors(self._project, self._directory)
        return tuple(sql_files.described(script, authors) for script in self._scripts())

    def find_missing(self, name: str) -> MigrationFile | None:
        directory = options.shown(self._project, self._directory)
        kept = git_history.find(self._project, [f":(glob){directory}/*{name}*.sql"])
        layout = (
            Layout.PAIRS if any(k.path.endswith((".up.sql", ".down.sql")) for k in kept) else Layout.SINGLE
        )
        wanted = [k for k in kept if sql_files.version_of(Path(k.path).name, layout) == name]
        if not wanted:
            return None
        contents = {Path(k.path).name: k.content for k in wanted}
        script = sql_files.script_from(name, tuple(k.path for k in wanted), contents, layout)
        authors = {Path(k.path).name: k.author for k in wanted}
        found = sql_files.described(script, authors, wanted[0].commit)
        return replace(found, origins=git_history.commits(wanted, found.paths))

    def redirect(self, endpoint: Endpoint, directory: Path) -> ToolEnvironment:
        """Nothing to point: the session is ours and goes to the endpoint by construction."""
        return ToolEnvironment({}, (), endpoint, directory)

    def environment_digest(self) -> str:
        described = {
            "version": self.version(),
            "directory": str(self._directory),
            "history": dict(self._history),
            "multi_statement": self._multi_statement,
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def probe(self, environment: ToolEnvironment, deadline: float) -> ToolResult | None:
        """Read the history through the endpoint."""

        def look(connection: Connection[Any], said: list[str]) -> None:
            said += [row.name for row in self.history(connection).rows]

        return sql_session.run(_endpoint(environment), deadline, look)

    def unapply(self, count: int, environment: ToolEnvironment, deadline: float) -> ToolResult:
        """Run the newest `count` downs. Nothing is sent before every one of them was found fit.

        Without a history table only a marked copy is touched: raises `Refused` anywhere else.
        """
        scripts = self._scripts()

        def work(connection: Connection[Any], said: list[str]) -> None:
            book = sql_history.find(connection, self._history)
            if book is None:
                _demand_copy(connection)
                versions, stored = [script.version for script in scripts], dict[str, str]()
            else:
                applied = sql_history.read(connection, book, [s.version for s in scripts], self._layout())
                versions, stored = [row.name for row in applied.rows], dict(applied.stored)
                if any(row.dirty for row in applied.rows):
                    raise _dirty(book, versions[-1])
            chosen = [sql_files.needed(scripts, name, "down") for name in versions[: -count - 1 : -1]]
            if not chosen:
                said.append("no migrations have been applied")
            before = [*reversed(versions), None][1:]
            runner = Runner(connection, book, said, self._multi_statement)
            with runner.alone():
                for (script, half), previous in zip(chosen, before, strict=False):
                    runner.down(script, half, stored.get(script.version, ""), previous)

        return sql_session.run(_endpoint(environment), deadline, work)

    def apply(self, count: int, environment: ToolEnvironment, deadline: float) -> ToolResult:
        scripts = self._scripts()

        def work(connection: Connection[Any], said: list[str]) -> None:
            if sql_history.find(connection, self._history) is None:
                sql_history.create(connection, self._history, self._layout())
            book = sql_history.find(connection, self._history)
            assert book is not None
            known = [script.version for script in scripts]
            done = {row.name for row in sql_history.read(connection, book, known, self._layout()).rows}
            pending = [name for name in known if name not in done][:count]
            runner = Runner(connection, book, said, self._multi_statement)
            with runner.alone():
                for script, half in [sql_files.needed(scripts, name, "up") for name in pending]:
                    below = known.index(script.version) - 1
                    runner.up(script, half, known[below] if below >= 0 else None)

        return sql_session.run(_endpoint(environment), deadline, work)

    def settle(self, connection: Connection[Any], remaining: str | None) -> str:
        """What `migrate force` does, as one statement; empty when no version is marked dirty."""
        book = sql_history.find(connection, self._history)
        return sql_history.settled(connection, book, remaining) if book is not None and book.dirty else ""

    def recover(self, observation: Observation) -> Recovery:
        return recovery.judge(observation, history_in_transaction=self.history_is_in_down_transaction)

    def explain(self, arguments: tuple[str, ...]) -> str | None:
        """There is no command line of ours to misread."""
        del arguments
        return None

    def checks(self) -> tuple[Check, ...]:
        """Is the directory readable, can every down be sent."""
        try:
            scripts = self._scripts()
        except BackoutError as error:
            return (Check("migration files", CheckState.FAIL, error.what, error.next),)
        return (_files_check(scripts, self._directory), _downs_check(scripts))


def _endpoint(environment: ToolEnvironment) -> Endpoint:
    assert environment.endpoint is not None, "made by redirect()"
    return environment.endpoint


def _demand_copy(connection: Connection[Any]) -> None:
    """Raise `Refused` unless this database carries the mark of a copy of ours."""
    if connection.execute(_COPY_MARKER, (STATE_SCHEMA,)).fetchone() != (True,):
        raise Refused(
            "no history table says which of these migrations were applied: they can be rehearsed, not run",
            where=f"{connection.info.dbname} @ {connection.info.host}:{connection.info.port}",
            intact="everything; no statement was sent",
            next="name the table in migrations.history = {table, version_column}, then: backout doctor",
        )


def _dirty(book: Book, version: str) -> ConfigurationError:
    return ConfigurationError(
        f"{book.table.shown} says that migration {version} broke off and left the database dirty",
        where=book.table.shown,
        intact="everything; no statement was sent",
        next="find out what it did (backout open), then let golang-migrate force the version",
    )


def _files_check(scripts: Sequence[Script], directory: Path) -> Check:
    name = "migration files"
    if not scripts:
        return Check(name, CheckState.FAIL, f"no migration in {directory}", "set migrations.directory")
    return Check(name, CheckState.PASS, f"{len(scripts)} migrations, {scripts[0].layout.value}")


def _downs_check(scripts: Sequence[Script]) -> Check:
    name = "migration downs"
    for script in scripts:
        found = meta_commands(script.down.text) if script.down else ()
        if found:
            return Check(
                name, CheckState.FAIL, f"{script.version} uses {found[0]} of psql", "write it as SQL"
            )
    without = [s.version for s in scripts if sql_files.described(s, {}).down is not DownKind.PRESENT]
    if without:
        return Check(
            name, CheckState.WARN, f"{len(without)} without a down that does anything: {without[-1]}"
        )
    return Check(name, CheckState.PASS, "every migration has one")
