"""Alembic, run through the project's own Python; its scripts are read and never imported here."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from psycopg import Connection

from backout.adapters.migrator import (
    alembic_config,
    alembic_program,
    alembic_scripts,
    child,
    git_history,
    options,
    recovery,
    sources,
    tables,
    trying,
)
from backout.adapters.migrator.alembic_scripts import Revision
from backout.errors import ConfigurationError
from backout.model.check import Check, CheckState
from backout.model.migration import History, HistoryRow, MigrationFile
from backout.ports.migrator import Endpoint, Observation, Recovery, ToolEnvironment, ToolResult

_SCHEME = re.compile(r"postgres(?:ql)?(?:\+\w+)?(?=://)")
_CURRENT = re.compile(r"([0-9A-Za-z_.-]+)((?: \([a-z ]+\))*)\s*\Z")


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of `[target.NAME.migrations]`."""

    project: Path
    config: Path | None
    section: str
    command: tuple[str, ...]
    passed: tuple[str, ...]
    variable: str
    scheme: str
    env_file: Path
    history: Mapping[str, str]
    x_arguments: tuple[str, ...]


def from_settings(project: Path, given: Mapping[str, object]) -> Alembic:
    """Make the adapter; starts nothing and reads nothing yet."""
    project = project.absolute()
    config = options.text(given, "config")
    return Alembic(
        Asked(
            project=project,
            config=options.inside(project, config) if config else None,
            section=options.text(given, "section", "alembic"),
            command=options.command(given),
            passed=options.texts(given, "env"),
            variable=options.text(given, "database_url_variable"),
            scheme=options.text(given, "url_scheme"),
            env_file=options.inside(project, options.text(given, "env_file", ".env")),
            history=options.table(given, "history"),
            x_arguments=options.texts(given, "x"),
        )
    )


class Alembic:
    """The adapter. It keeps no state."""

    name = "alembic"
    # The version row is updated in the transaction of each step, on PostgreSQL.
    history_is_in_down_transaction = True

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def _setup(self) -> alembic_config.Setup:
        return alembic_config.setup(self._asked.project, self._asked.config, self._asked.section)

    def _env_py(self) -> alembic_config.EnvPy:
        return alembic_config.env_py(self._setup().env_py)

    def _chain(self) -> tuple[Revision, ...]:
        setup = self._setup()
        return alembic_scripts.chain(
            alembic_scripts.read(self._asked.project, setup.versions, setup.recursive)
        )

    def _command(self) -> tuple[str, ...]:
        return self._asked.command or (alembic_program.find(self._asked.project),)

    def version(self) -> str:
        return alembic_program.version(self._command(), self._asked.project, self._asked.passed)

    def history(self, connection: Connection[Any]) -> History:
        """The table holds only the head; what lies below it is read from the scripts.

        Raises `ConfigurationError` when there are several heads or the scripts are no straight line.
        """
        table = self._table(connection)
        if table is None:
            return History("", (), self.name)
        heads = tables.rows(connection, table, "version_num", None, ["version_num"])
        if len(heads) > 1:
            raise ConfigurationError(
                f"{table.shown} holds several heads: {', '.join(head[0] for head in heads)}",
                where=table.shown,
                intact="everything",
                next="branches and merges are not supported; undo this one by hand, or by restore",
            )
        applied = self._below(heads[0][0]) if heads else ()
        xid = heads[0][2] if heads else None
        rows = (
            HistoryRow(i, name, None, xid if i == len(applied) else None)
            for i, name in enumerate(applied, start=1)
        )
        return History(table.shown, tuple(rows), self.name)

    def _table(self, connection: Connection[Any]) -> tables.Table | None:
        env_py = self._env_py()
        said = self._asked.history.get("table", "")
        schema, name = (
            tables.split_name(said) if said else (env_py.version_schema or None, env_py.version_table)
        )
        found = tables.find(connection, name or "alembic_version", schema)
        return next((table for table in found if "version_num" in table.columns), None)

    def _below(self, head: str) -> tuple[str, ...]:
        """The applied revisions up to `head`, oldest first, also when its file is no longer on disk."""
        on_disk = [revision.revision for revision in self._chain()]
        above: list[str] = []
        name = head
        while name and name not in on_disk and name not in above:
            above.insert(0, name)
            missing = self._from_git(name)
            if missing is None:
                # All that is on disk was there when the newer files came: it lies below them.
                return (*on_disk, *above)
            name = missing[0].parents[0] if missing[0].parents else ""
        below = on_disk[: on_disk.index(name) + 1] if name in on_disk else []
        return (*below, *above)

    def files(self) -> tuple[MigrationFile, ...]:
        """Raises `ConfigurationError` when the scripts are no straight line."""
        authors: dict[str, str] = {}
        for directory in self._setup().versions:
            authors |= git_history.authors(self._asked.project, directory)
        return tuple(alembic_scripts.described(revision, authors) for revision in self._chain())

    def find_missing(self, name: str) -> MigrationFile | None:
        found = self._from_git(name)
        if found is None:
            return None
        revision, kept = found
        described = alembic_scripts.described(revision, {Path(kept.path).name: kept.author}, kept.commit)
        return replace(described, origins=(kept.commit,))

    def _from_git(self, name: str) -> tuple[Revision, git_history.Kept] | None:
        project = self._asked.project
        patterns = [f":(glob){options.shown(project, d)}/**/*.py" for d in self._setup().versions]
        for kept in git_history.find(project, patterns, containing=name):
            revision = alembic_scripts.parse(kept.path, kept.content)
            if revision is not None and revision.revision == name:
                return revision, kept
        return None

    def redirect(self, endpoint: Endpoint, directory: Path) -> ToolEnvironment:
        """Lead every way that env.py may take to the endpoint: its variables, the ini, libpq's own.

        `PGHOSTADDR` stands there for a connection that is written down in env.py itself: it then ends on
        this machine instead of in production.
        """
        setup, env_py = self._setup(), self._env_py()
        in_file = sources.assignments(self._asked.env_file)
        variables = {name: self._url(endpoint, in_file.get(name, ""), name) for name in self._url_names()}
        for name in (*env_py.variables, *in_file):
            part = alembic_config.part_of(name)
            if part and name not in variables:
                variables[name] = alembic_config.value_of(part, endpoint)
        variables |= child.libpq_variables(endpoint)
        # Nothing is left in the user's directories, not even compiled copies of their scripts.
        variables["PYTHONDONTWRITEBYTECODE"] = "1"
        if re.fullmatch(r"[\d.]+|[0-9a-fA-F:]*:[0-9a-fA-F:]*", endpoint.host):
            variables["PGHOSTADDR"] = endpoint.host
        arguments: tuple[str, ...] = ()
        if setup.ini and setup.url and env_py.reads_ini_url:
            text = alembic_config.redirected_ini(setup.ini, self._url(endpoint, setup.url, ""))
            private = str(child.private_file(directory, "alembic.ini", text))
            arguments = ("-c", private)
            # For a command line of the user's, into which no argument can be put (read since Alembic 1.13).
            variables["ALEMBIC_CONFIG"] = private
        remove = tuple(name for name in child.connection_names(os.environ) if name not in variables)
        return ToolEnvironment(variables, arguments, endpoint, directory, remove)

    def _url_names(self) -> tuple[str, ...]:
        """Variables that hold a whole connection string: named by people, seen in env.py or an env file."""
        in_file = sources.assignments(self._asked.env_file)
        seen = [name for name in self._env_py().variables if alembic_config.is_url_variable(name)]
        held = [name for name in child.connection_names(in_file) if not alembic_config.part_of(name)]
        named = [self._asked.variable] if self._asked.variable else []
        return tuple(dict.fromkeys((*named, *seen, *held, "DATABASE_URL")))

    def _url(self, endpoint: Endpoint, instead_of: str, name: str) -> str:
        """The URL with the scheme (and so the driver) of the one that it replaces; TLS comes from PG*."""
        known = (instead_of, os.environ.get(name, ""), self._setup().url)
        schemes = [found.group() for text in known if (found := _SCHEME.search(text))]
        scheme = self._asked.scheme or (schemes[0] if schemes else "postgresql")
        return child.url(endpoint, scheme, sslmode=False)

    def environment_digest(self) -> str:
        setup = self._setup()
        ini = setup.ini.read_text(encoding="utf-8", errors="replace") if setup.ini else ""
        described = {
            "version": self.version(),
            "command": list(self._command()),
            "x": list(self._asked.x_arguments),
            "section": self._asked.section,
            "ini": alembic_config.without_url(ini),
            "pyproject": sources.digest_of_paths([self._asked.project / "pyproject.toml"]),
            "env.py": sources.digest_of_paths([setup.env_py]),
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def probe(self, environment: ToolEnvironment, deadline: float) -> ToolResult | None:
        """`alembic current`."""
        return self._run(("current",), environment, deadline)

    def unapply(self, count: int, environment: ToolEnvironment, deadline: float) -> ToolResult:
        """`alembic downgrade REVISION`, the target named; `current` asks the database first.

        Returns the answer of `current` when that one fails or shows that nothing is applied.
        """
        began = time.monotonic()
        asked = self.probe(environment, deadline)
        assert asked is not None
        names = [revision.revision for revision in self._chain()]
        head = _current_head(asked.output, names)
        if asked.exit_code != 0 or asked.timed_out or head is None:
            return asked
        position = names.index(head) - count
        target = names[position] if position >= 0 else "base"
        return self._run(("downgrade", target), environment, deadline - (time.monotonic() - began))

    def apply(self, count: int, environment: ToolEnvironment, deadline: float) -> ToolResult:
        return self._run(("upgrade", f"+{count}"), environment, deadline)

    def _run(self, verb: tuple[str, ...], environment: ToolEnvironment, deadline: float) -> ToolResult:
        asked = self._asked
        where = environment.arguments or _config_argument(asked.config)
        section = ("-n", asked.section) if asked.section != "alembic" else ()
        given = tuple(word for text in asked.x_arguments for word in ("-x", text))
        return child.run(
            [*self._command(), *where, *section, *given, *verb],
            directory=asked.project,
            environment=child.environment_of(environment, (*alembic_program.PASSED, *asked.passed)),
            deadline=max(deadline, 0.1),
            secrets=[environment.endpoint.password] if environment.endpoint else [],
        )

    def recover(self, observation: Observation) -> Recovery:
        return recovery.judge(observation, history_in_transaction=self.history_is_in_down_transaction)

    def explain(self, arguments: tuple[str, ...]) -> str | None:
        """The target of `downgrade` is what stays, and `--sql` runs nothing."""
        words = arguments[arguments.index("downgrade") :] if "downgrade" in arguments else ()
        if "--sql" in words:
            return "`--sql` only prints SQL; nothing is reverted"
        targets = [word for word in words[1:] if not word.startswith("--")]
        if not targets or re.fullmatch(r"-\d+", targets[0]):
            return None
        if targets[0] == "base":
            return "it reverts every migration"
        return f"it reverts everything above {targets[0]}; {targets[0]} itself stays applied"

    def checks(self) -> tuple[Check, ...]:
        """Tool, scripts, and where env.py takes its connection from."""
        return trying.all_of(
            (
                (
                    "migration tool",
                    lambda: Check("migration tool", CheckState.PASS, f"{self.version()} starts"),
                ),
                ("migration files", self._check_files),
                ("migration connection", self._check_connection),
            )
        )

    def _check_files(self) -> Check:
        found = self._chain()
        state = CheckState.PASS if found else CheckState.FAIL
        return Check("migration files", state, f"{len(found)} revisions in one line")

    def _check_connection(self) -> Check:
        name = "migration connection"
        setup, env_py = self._setup(), self._env_py()
        seen = [v for v in env_py.variables if alembic_config.is_url_variable(v) or alembic_config.part_of(v)]
        if self._asked.variable or seen:
            return Check(name, CheckState.PASS, f"env.py reads {', '.join(seen) or self._asked.variable}")
        if setup.url and env_py.reads_ini_url:
            return Check(name, CheckState.PASS, "env.py reads sqlalchemy.url; a private ini replaces it")
        detail = "env.py takes its connection from a place that cannot be seen from outside"
        return Check(name, CheckState.UNKNOWN, detail, "set migrations.database_url_variable")


def _current_head(output: str, known: list[str]) -> str | None:
    """The revision that `alembic current` printed among its log lines."""
    for line in output.splitlines():
        found = _CURRENT.match(line.strip())
        if found and found.group(1) in known:
            return found.group(1)
    return None


def _config_argument(config: Path | None) -> tuple[str, ...]:
    """pyproject.toml is found by the tool itself; `-c` is for an ini of another name."""
    return ("-c", str(config)) if config and config.suffix != ".toml" else ()
