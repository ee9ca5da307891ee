"""Is a node-pg-migrate project fit to be driven: named checks that never raise."""

from __future__ import annotations

import re

from backout.adapters.migrator import child, node_config, node_explain, node_files
from backout.adapters.migrator.node_config import Asked, Settings
from backout.adapters.migrator.node_program import PASSED, Program, with_node
from backout.model.check import Check, CheckState
from backout.ports.migrator import ToolEnvironment

_PART_OF_CONNECTION = re.compile(
    r"(?:DB|DATABASE|POSTGRES\w*)_?(?:HOST|PASS\w*|USER\w*|PORT)$", re.IGNORECASE
)
_ACTION_NAMED = re.compile(r"node-pg-migrate(?:\S*\s+)+?(?:up|down|redo)\b")


def started(asked: Asked, program: Program) -> Check:
    """Start the tool once, without any connection string in reach."""
    name = "migration tool"
    environment = child.environment_of(ToolEnvironment({}), (*PASSED, *asked.passed))
    done = child.run(
        [*program.command, "--version"],
        directory=asked.project,
        environment=with_node(environment, program.node),
        deadline=60,
    )
    if done.exit_code == 0:
        return Check(name, CheckState.PASS, f"node-pg-migrate {program.version} starts")
    last = (done.output.strip().splitlines() or ["no output"])[-1]
    detail = f"exit {done.exit_code}: {last[:200]}"
    return Check(name, CheckState.FAIL, detail, "start it once by hand with --version")


def configured(settings: Settings) -> Check:
    """Whether the tool's own configuration was understood."""
    name = "migration configuration"
    if settings.connection_in_file:
        mend = "remove the key; name the variable in migrations.database_url_variable"
        return Check(
            name, CheckState.FAIL, f"`{node_config.CONNECTION_KEY}` in it beats every redirect", mend
        )
    if settings.problem:
        return Check(name, CheckState.WARN, f"read as text only: {settings.problem}")
    where = f"history in {settings.schema}.{settings.table}"
    return Check(name, CheckState.PASS, f"{where}, files in {settings.place.directory}")


def directory(settings: Settings) -> Check:
    """Whether the tool would get past loading the directory."""
    place = settings.place
    name = "migration files"
    stray = node_files.unusable(place)
    if stray:
        detail = f"the tool stops at {', '.join(stray[:3])}: no number in front, or no migration"
        return Check(name, CheckState.FAIL, detail, "move them away, or set migrations.ignore")
    names = [file.name for file in node_files.migration_files(place, {})]
    halves = [file for file in names if file.endswith((".up", ".down"))]
    if halves:
        detail = f"{halves[0]}: the command line runs .up.sql and .down.sql as two migrations"
        mend = "one .sql file with `-- Up Migration` and `-- Down Migration`"
        return Check(name, CheckState.WARN, detail, mend)
    return Check(name, CheckState.PASS, f"{len(names)} migrations in {place.directory}")


def command(asked: Asked) -> Check:
    """Whether the configured command, and the scripts beside it, do what they seem to."""
    name = "migration command"
    scripts = node_explain.scripts(asked.project)
    if any(_ACTION_NAMED.search(scripts.get(word, "")) for word in asked.command):
        detail = "the script already names an action; ours would be taken for a migration's name"
        return Check(name, CheckState.FAIL, detail, 'command = ["pnpm", "exec", "node-pg-migrate"]')
    warned = node_explain.script_warnings(asked.project)
    if warned:
        return Check(name, CheckState.WARN, "; ".join(warned), "backout does not use these scripts")
    return Check(name, CheckState.PASS, "down N, real flags only")


def env_file(asked: Asked) -> Check:
    """Whether a migration that connects by itself would find production in the env file."""
    name = "migration env file"
    parts = [key for key in node_config.env_file(asked) if _PART_OF_CONNECTION.match(key)]
    if not parts:
        return Check(name, CheckState.PASS, "no connection in parts")
    detail = f"it sets {', '.join(parts[:4])}: a migration that connects with these would not be redirected"
    return Check(name, CheckState.WARN, detail, "let it use the connection that the tool hands to it")
