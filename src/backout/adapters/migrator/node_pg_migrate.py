"""node-pg-migrate, driven by its real interface: `down N`, in an environment of ours."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from psycopg import Connection

from backout.adapters.migrator import (
    child,
    git_history,
    node_checks,
    node_config,
    node_explain,
    node_files,
    options,
    recovery,
    sources,
    tables,
    trying,
)
from backout.adapters.migrator.node_program import PASSED, Program, find, with_node
from backout.errors import BackoutError, ConfigurationError
from backout.model.check import Check
from backout.model.migration import History, MigrationFile
from backout.ports.migrator import Endpoint, Observation, Recovery, ToolEnvironment, ToolResult

LOCK_KEY = 7241865325823964
"""The advisory lock that the tool tries to take; who holds it keeps every other run out."""
_RUNBOOK_TABLE = "node_pgmigrations_schema_version"
_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)


def from_settings(project: Path, given: Mapping[str, object]) -> NodePgMigrate:
    """Make the adapter from `[target.NAME.migrations]`; starts nothing."""
    return NodePgMigrate(node_config.asked(project.absolute(), given))


class NodePgMigrate:
    """The adapter. It keeps no state: every question is answered from files, database and tool."""

    name = "node-pg-migrate"
    # The row goes before COMMIT, in the same transaction, unless the migration calls noTransaction().
    history_is_in_down_transaction = True
    advisory_lock_key = LOCK_KEY

    def __init__(self, asked: node_config.Asked) -> None:
        self._asked = asked

    def version(self) -> str:
        return f"node-pg-migrate {self._program().version}"

    def _program(self) -> Program:
        return find(self._asked.project, self._asked.command, self._asked.node)

    def _settings(self) -> node_config.Settings:
        """Without the tool a JavaScript configuration file is read as text, as far as that goes."""
        try:
            program = self._program()
        except BackoutError:
            program = None
        return node_config.settings(self._asked, program)

    def history(self, connection: Connection[Any]) -> History:
        """The tool's table, else the configured one, else one shaped as `(version, installed_on)`."""
        settings = self._settings()
        if self._asked.history:
            return self._other_history(connection, self._asked.history)
        own = [t for t in tables.find(connection, settings.table, settings.schema) if "name" in t.columns]
        if own:
            order = [column for column in ("run_on", "id") if column in own[0].columns]
            found = tables.rows(connection, own[0], "name", order[0] if order else None, order or ["name"])
            return History(own[0].shown, tables.numbered(found), self.name)
        shape = {"table": _RUNBOOK_TABLE, "version_column": "version", "applied_at_column": "installed_on"}
        return self._other_history(connection, shape)

    def _other_history(self, connection: Connection[Any], shape: Mapping[str, str]) -> History:
        schema, name = tables.split_name(shape.get("table", _RUNBOOK_TABLE))
        column = shape.get("version_column", "version")
        applied_at = shape.get("applied_at_column", "installed_on")
        fit = [t for t in tables.find(connection, name, schema) if column in t.columns]
        if not fit:
            return History("", (), self.name)
        at = applied_at if applied_at in fit[0].columns else None
        found = tables.rows(connection, fit[0], column, at, [at, column] if at else [column])
        rows = tuple((self._file_name(version), when, xid) for version, when, xid in found)
        return History(fit[0].shown, tables.numbered(rows), self.name)

    def _file_name(self, version: str) -> str:
        """A version of a table that is not the tool's own, as the migration's name where a file says it."""
        if version.endswith(node_files.EXTENSIONS):
            return node_files.name_of(version)
        starting = [f.name for f in self.files() if f.name == version or f.name.startswith(f"{version}_")]
        return starting[0] if len(starting) == 1 else version

    def files(self) -> tuple[MigrationFile, ...]:
        """Raises `ConfigurationError` when the directory cannot be read."""
        place = self._settings().place
        return node_files.migration_files(place, git_history.authors(place.project, self._directory(place)))

    def _directory(self, place: node_files.Place) -> Path:
        fixed = re.split(r"[*?{\[]", place.directory)[0] if place.use_glob else place.directory
        path = place.project / fixed
        return path if path.is_dir() else path.parent

    def find_missing(self, name: str) -> MigrationFile | None:
        place = self._settings().place
        directory = options.shown(place.project, self._directory(place))
        patterns = [f":(glob){directory}/{name}{ext}" for ext in node_files.EXTENSIONS]
        if place.sql_pairs:
            patterns += [f":(glob){directory}/{name}.{half}.sql" for half in ("up", "down")]
        kept = git_history.find(place.project, patterns)
        if not kept:
            return None
        contents = {Path(k.path).name: k.content for k in kept}
        found = node_files.describe(
            name, tuple(k.path for k in kept), contents, kept[0].author, kept[0].commit
        )
        return replace(found, origins=git_history.commits(kept, found.paths))

    def redirect(self, endpoint: Endpoint, directory: Path) -> ToolEnvironment:
        """Point the tool at the endpoint: the variable that it reads beats every configuration file.

        Connections that an env file would add under other names are led to the endpoint too, so that a
        migration which opens one of its own does not find production.
        """
        if self._settings().connection_in_file:
            raise ConfigurationError(
                f"{self._config_name()} sets `{node_config.CONNECTION_KEY}`, which this tool takes for the "
                "connection itself: it would not go where it is pointed",
                where=str(self._asked.project),
                intact="everything; the tool was not started",
                next="remove that key and set migrations.database_url_variable, then: backout doctor",
            )
        address = child.url(endpoint)
        in_file = child.connection_names(node_config.env_file(self._asked))
        names = {self._asked.variable, "DATABASE_URL", *in_file}
        variables = {name: address for name in names if not name.startswith("PG")}
        variables |= child.libpq_variables(endpoint)
        if endpoint.ca_file:
            variables["NODE_EXTRA_CA_CERTS"] = str(_authorities(endpoint.ca_file, directory))
        remove = tuple(name for name in child.connection_names(os.environ) if name not in variables)
        return ToolEnvironment(variables, (), endpoint, directory, (*remove, "NODE_TLS_REJECT_UNAUTHORIZED"))

    def _config_name(self) -> str:
        return self._asked.config.name if self._asked.config else "the configuration"

    def environment_digest(self) -> str:
        asked = self._asked
        described = {
            "version": self.version(),
            "command": list(self._program().command),
            "flags": list(node_config.flags(asked)),
            "passed": {n: os.environ.get(n, "") for n in asked.passed if not _SECRET_NAME.search(n)},
            "config": sources.digest_of_paths([asked.config] if asked.config else []),
            # Without secrets: a rotated password is no other behaviour.
            "env_file": {
                name: value
                for name, value in node_config.env_file(self._asked).items()
                if not child.is_connection(name, value) and not _SECRET_NAME.search(name)
            },
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def probe(self, environment: ToolEnvironment, deadline: float) -> ToolResult | None:
        """The tool has no verb that only reads: its dry run executed a DELETE."""
        del environment, deadline
        return None

    def unapply(self, count: int, environment: ToolEnvironment, deadline: float) -> ToolResult:
        """`node-pg-migrate down COUNT`; the count stands alone, `--count` does not exist."""
        return self._run("down", count, environment, deadline)

    def apply(self, count: int, environment: ToolEnvironment, deadline: float) -> ToolResult:
        return self._run("up", count, environment, deadline)

    def _run(self, action: str, count: int, environment: ToolEnvironment, deadline: float) -> ToolResult:
        if count < 1:
            raise ValueError("count must be at least 1")
        program = self._program()
        variables = child.environment_of(environment, (*PASSED, *self._asked.passed))
        return child.run(
            [*program.command, action, str(count), *node_config.flags(self._asked), *environment.arguments],
            directory=self._asked.project,
            environment=with_node(variables, program.node),
            deadline=deadline,
            secrets=[environment.endpoint.password] if environment.endpoint else [],
        )

    def recover(self, observation: Observation) -> Recovery:
        return recovery.judge(observation, history_in_transaction=self.history_is_in_down_transaction)

    def explain(self, arguments: tuple[str, ...]) -> str | None:
        return node_explain.explain(arguments, self._asked.project)

    def checks(self) -> tuple[Check, ...]:
        """Tool, configuration, files, command and env file; a check that cannot be made is `unknown`."""
        asked = self._asked
        return trying.all_of(
            (
                ("migration tool", lambda: node_checks.started(asked, self._program())),
                ("migration configuration", lambda: node_checks.configured(self._settings())),
                ("migration files", lambda: node_checks.directory(self._settings())),
                ("migration command", lambda: node_checks.command(asked)),
                ("migration env file", lambda: node_checks.env_file(asked)),
            )
        )


def _authorities(ours: Path, directory: Path) -> Path:
    """One file with our authority and those that the operator's Node already trusts besides its own."""
    theirs = os.environ.get("NODE_EXTRA_CA_CERTS")
    if not theirs or not Path(theirs).is_file():
        return ours
    joined = ours.read_text() + "\n" + Path(theirs).read_text()
    return child.private_file(directory, "authorities.pem", joined)


__all__ = ["LOCK_KEY", "NodePgMigrate", "from_settings"]
