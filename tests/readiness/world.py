"""A project with plain SQL migrations, its database, and the command line typed in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from psycopg import Connection, sql

from backout.adapters.migrator import sql_pairs
from backout.app.enrol import make_demo_key
from backout.cli import command_line
from backout.ports.migrator import Endpoint
from backout.testing.servers import RealServer
from tests.migrators.worlds import FIXTURES

SECONDS = 30.0
VARIABLES = ("DATABASE_URL", "DATABASE_URL_DIRECT", "DIRECT_URL", "BACKOUT_CONFIG", "PGHOST", "PGPASSWORD")


@dataclass(frozen=True, slots=True)
class Typed:
    """What a command answered."""

    exit_code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one document of --json."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def states(self) -> dict[str, str]:
        return {check["name"]: check["state"] for check in self.document["checks"]}

    def check(self, name: str) -> dict[str, str]:
        found: dict[str, str] = next(c for c in self.document["checks"] if c["name"] == name)
        return found


@dataclass(frozen=True, slots=True)
class Place:
    """One project and one database whose owner is `role`."""

    server: RealServer
    database: str
    role: str
    project: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def admin(self) -> Connection:
        return self.server.connect(self.database)

    def url(self, role: str | None = None) -> str:
        return self.server.dsn(self.database, role or self.role)

    def type(self, *words: str) -> Typed:
        """Type a command in the project."""
        self.capsys.readouterr()
        code = command_line(words)
        said = self.capsys.readouterr()
        return Typed(code, said.out, said.err)

    def as_role(self, role: str) -> None:
        self.monkeypatch.setenv("DATABASE_URL", self.url(role))

    def enrol(self, *people: str) -> None:
        """Give each of them a key; `name=role` lines go into the configuration."""
        lines, tables = [], []
        for person in people:
            name, _, role = person.partition("=")
            lines.append(make_demo_key(self.project.parent / name, name))
            tables.append(f'"{name}" = {{ roles = ["{role}"] }}')
        (self.project / "allowed_signers").write_text("\n".join(lines) + "\n")
        with (self.project / "backout.toml").open("a") as file:
            file.write("\n".join(tables) + "\n")


def role_of(server: RealServer, words: str = "LOGIN") -> str:
    """A fresh role."""
    name = f"r_{token_hex(4)}"
    with server.connect() as admin:
        admin.execute(sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(name), sql.SQL(words)))
    return name


@contextmanager
def place(
    server: RealServer, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    """All migrations are applied; the variable of the project leads to the database as its owner."""
    project = directory / "a project"
    shutil.copytree(FIXTURES / "dbmate_project", project)
    role = role_of(server)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BACKOUT_STATE", str(directory / "state"))
    monkeypatch.chdir(project)
    with server.database(owner=role) as database:
        with server.connect(database) as admin:
            admin.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(role)))
        migrator = sql_pairs.from_settings(project, {})
        endpoint = Endpoint("127.0.0.1", server.port, database, role, "")
        done = migrator.apply(99, migrator.redirect(endpoint, directory), SECONDS)
        assert done.exit_code == 0, done.output
        with server.connect(database) as admin:
            admin.execute(
                "INSERT INTO public.users (first_name) SELECT 'U ' || n FROM generate_series(1, 7) n"
            )
        monkeypatch.setenv("DATABASE_URL", server.dsn(database, role))
        yield Place(server, database, role, project, monkeypatch, capsys)
