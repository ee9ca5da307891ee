"""What decides node-pg-migrate's behaviour: our options, joined with its own configuration file."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backout.adapters.migrator import child, options, sources
from backout.adapters.migrator.node_files import Place
from backout.adapters.migrator.node_program import PASSED, Program
from backout.errors import NeighbourUnreachable
from backout.ports.migrator import ToolEnvironment

KEYS = ("schema", "migrations-dir", "use-glob", "migrations-table", "migrations-schema", "ignore-pattern")
CONNECTION_KEY = "database-url-var"
# Prints the wanted keys only: the rest of such a file is where the password stands.
_READER = """
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
const [file, section, entry, keys] = process.argv.slice(1);
async function load() {
  const { jiti } = await import(pathToFileURL(entry).href).catch(() => ({}));
  return jiti ? await jiti.import(file) : createRequire(file)(file);
}
const module = await load();
const whole = module && typeof module === "object" && "default" in module ? module.default : module;
const part = whole && typeof whole === "object" && section in whole ? whole[section] : whole;
const chosen = {};
if (part && typeof part === "object") {
  for (const key of JSON.parse(keys)) if (key in part) chosen[key] = part[key];
  chosen.connection = "database-url-var" in part;
}
process.stdout.write("\\n\\u0001" + JSON.stringify(chosen));
process.exit(0);
"""
# The configuration files of real projects throw without a connection string; this one leads nowhere.
_NOWHERE = "postgresql://nobody@127.0.0.1:9/nowhere"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that the tool would work with."""

    place: Place
    table: str
    schema: str
    """Schema of the history table."""
    connection_in_file: bool
    """The file sets `database-url-var`, which version 9 takes for the connection itself."""
    problem: str = ""
    """Why the configuration file could not be read, one line without its contents."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of backout.toml for this tool."""

    project: Path
    directory: str
    config: Path | None
    section: str
    env_file: Path | None
    passed: tuple[str, ...]
    command: tuple[str, ...]
    node: str
    table: str
    schema: tuple[str, ...]
    migrations_schema: str
    variable: str
    ignore: str
    use_glob: bool
    sql_pairs: bool
    history: Mapping[str, str]


def asked(project: Path, given: options.Options) -> Asked:
    """Read the options of `[target.NAME.migrations]`; raises `ConfigurationError` for a wrong type."""
    config = options.text(given, "config")
    env_file = options.text(given, "env_file")
    return Asked(
        project=project,
        directory=options.text(given, "directory"),
        config=options.inside(project, config) if config else None,
        section=options.text(given, "config_value", "db"),
        env_file=options.inside(project, env_file) if env_file else None,
        passed=options.texts(given, "env"),
        command=options.command(given),
        node=options.text(given, "node"),
        table=options.text(given, "table"),
        schema=options.texts(given, "schema"),
        migrations_schema=options.text(given, "migrations_schema"),
        variable=options.text(given, "database_url_variable", "DATABASE_URL"),
        ignore=options.text(given, "ignore"),
        use_glob=options.truth(given, "use_glob"),
        sql_pairs=options.truth(given, "sql_pairs"),
        history=options.table(given, "history"),
    )


def flags(asked: Asked) -> tuple[str, ...]:
    """The real flags of the tool for these options. After the count: `--schema` swallows what follows."""
    said = (
        ("--config-file", str(asked.config) if asked.config else ""),
        ("--config-value", asked.section if asked.section != "db" else ""),
        ("--envPath", str(asked.env_file) if asked.env_file else ""),
        ("--migrations-dir", asked.directory),
        ("--migrations-table", asked.table),
        ("--migrations-schema", asked.migrations_schema),
        ("--ignore-pattern", asked.ignore),
        ("--database-url-var", asked.variable if asked.variable != "DATABASE_URL" else ""),
    )
    written = [word for flag, value in said if value for word in (flag, value)]
    if asked.use_glob:
        written.append("--use-glob")
    return (*written, *(f"--schema={name}" for name in asked.schema))


def settings(asked: Asked, program: Program | None) -> Settings:
    """Join options and configuration file as the tool does: a key of the file beats a flag."""
    found, problem = _from_file(asked, program) if asked.config else ({}, "")
    schemas = _strings(found.get("schema")) or asked.schema or ("public",)
    return Settings(
        place=Place(
            asked.project,
            _string(found.get("migrations-dir")) or asked.directory or "migrations",
            bool(found.get("use-glob", asked.use_glob)),
            _string(found.get("ignore-pattern")) or asked.ignore,
            asked.sql_pairs,
        ),
        table=_string(found.get("migrations-table")) or asked.table or "pgmigrations",
        schema=_string(found.get("migrations-schema")) or asked.migrations_schema or schemas[0],
        connection_in_file=bool(found.get("connection")),
        problem=problem,
    )


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _strings(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _from_file(asked: Asked, program: Program | None) -> tuple[Mapping[str, object], str]:
    path = asked.config
    assert path is not None
    try:
        content = path.read_bytes()
    except OSError as error:
        return {}, f"{path.name} cannot be read: {error.strerror}"
    if path.suffix == ".json":
        return _from_json(content, asked.section, path.name)
    stamp = hashlib.sha256(content).hexdigest()
    found, problem = (
        _evaluated(asked, program, stamp) if program and program.node else ({}, "Node.js is missing")
    )
    return (
        (found, "")
        if not problem
        else (_guessed(content.decode("utf-8", "replace")), f"{path.name}: {problem}")
    )


def _from_json(content: bytes, section: str, name: str) -> tuple[Mapping[str, object], str]:
    try:
        whole = json.loads(content)
    except ValueError as error:
        return {}, f"{name} is no JSON: {error}"
    part = whole[section] if isinstance(whole, dict) and section in whole else whole
    if not isinstance(part, dict):
        return {}, ""
    chosen: dict[str, object] = {key: part[key] for key in KEYS if key in part}
    return {**chosen, "connection": CONNECTION_KEY in part}, ""


@functools.lru_cache(maxsize=32)
def _evaluate(
    path: str,
    stamp: str,
    section: str,
    node: str,
    entry: str,
    project: str,
    passed: tuple[str, ...],
    variable: str,
) -> tuple[str, str]:
    """The chosen keys as JSON, or the reason why not. `stamp` makes a changed file a new question."""
    del stamp
    nowhere = ToolEnvironment({"DATABASE_URL": _NOWHERE, variable: _NOWHERE})
    try:
        done = child.run(
            [node, "--input-type=module", "-e", _READER, "--", path, section, entry, json.dumps(KEYS)],
            directory=Path(project),
            environment=child.environment_of(nowhere, (*PASSED, *passed)),
            deadline=30,
        )
    except NeighbourUnreachable as error:
        return "", error.what
    _, mark, answer = done.output.rpartition("\n\x01")
    if done.exit_code == 0 and mark:
        return answer, ""
    reason = next((line.strip() for line in done.output.splitlines() if re.match(r"\s*\w*Error\b", line)), "")
    return "", reason[:200] or f"evaluating it ended with exit code {done.exit_code}"


def _evaluated(asked: Asked, program: Program, stamp: str) -> tuple[Mapping[str, object], str]:
    entry = str(program.package / "dist" / "bundle" / "index.js") if program.package else ""
    path = str(asked.config)
    answer, problem = _evaluate(
        path, stamp, asked.section, program.node, entry, str(asked.project), asked.passed, asked.variable
    )
    if problem:
        return {}, problem
    found = json.loads(answer)
    return (found, "") if isinstance(found, dict) else ({}, "it exports no settings")


def _guessed(text: str) -> Mapping[str, object]:
    """Keys with plain texts, read from the source of a file that cannot be evaluated."""
    found: dict[str, object] = {}
    for key in KEYS:
        seen = re.search(rf"""['"]?{re.escape(key)}['"]?\s*:\s*['"]([^'"\n]+)['"]""", text)
        if seen:
            found[key] = seen.group(1)
    return {**found, "connection": re.search(rf"['\"]{CONNECTION_KEY}['\"]\s*:", text) is not None}


def env_file(asked: Asked) -> dict[str, str]:
    """Assignments of the env file that the tool would load."""
    return sources.assignments(asked.env_file or asked.project / ".env")
