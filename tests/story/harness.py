"""A project, a real server and two people with real keys: what a story needs, in one object."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backout.adapters.people.keys import allowed_signers_line, make_key
from backout.app import incidents, signing
from backout.app.compose import Application
from backout.app.desk import Desk
from backout.cli import command_line
from backout.engine.journals import SqliteJournal
from backout.model.journal import Entry
from backout.testing.servers import RealServer
from tests import commands, documents

PEOPLE = {"jonas.lind": "sre", "priya.raman": "owner"}

CONFIG = """\
[target.heroes]
environment = "{environment}"
dsn.operate.env = "HEROES_DSN"
[target.heroes.migrations]
tool = "{tool}"
directory = "migrations"
{options}
[target.heroes.snapshot]
scope = "whole"
jobs = 1
[target.heroes.checks.users]
sql = "SELECT count(*) FROM users"
expect = ">= {floor}"
[target.heroes.checks.table]
regclass = "public.users"
[policy.{environment}]
approvals = ["sre", "owner"]
[people]
allowed_signers = "allowed_signers"
"jonas.lind" = {{ roles = ["sre"] }}
"priya.raman" = {{ roles = ["owner"] }}
[channels]
file = "notices.log"
"""


class Silent:
    """A teller for stories that nobody watches."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def progress(self, text: str) -> None:
        self.said.append(text)

    def step_begins(self, key: str, attempt: int) -> None: ...
    def step_ends(self, key: str, outcome: str, seconds: float) -> None: ...
    def notice(self, text: str, audience: str, head: Entry) -> None: ...


@dataclass
class World:
    """A configured project beside a real database; `owner` is a plain role that owns its tables only."""

    root: Path
    server: RealServer
    database: str
    owner: str
    floor: int = 0
    tool: str = "sql"
    environment: str = "production"
    options: str = ""
    keys: dict[str, Path] = field(default_factory=dict)

    @property
    def dsn(self) -> str:
        return self.server.dsn(self.database, self.owner, "x")

    @property
    def state(self) -> Path:
        return self.root / "state"

    def connect(self) -> psycopg.Connection:
        """As the application's role."""
        return psycopg.connect(self.dsn, autocommit=True)

    def one(self, query: str) -> Any:
        with self.connect() as session:
            row = session.execute(query.encode()).fetchone()
        return row[0] if row else None

    def migration(self, name: str, up: str, down: str, *, options: str = "") -> None:
        """Write one migration as dbmate does."""
        directory = self.root / "migrations"
        directory.mkdir(exist_ok=True)
        text = f"-- migrate:up{options}\n{up}\n-- migrate:down{options}\n{down}\n"
        (directory / f"{name}.sql").write_text(text)

    def applied(self, version: str, up: str) -> None:
        """Apply as dbmate would: the statements and the history row in one transaction."""
        with psycopg.connect(self.dsn) as session:
            session.execute(up.encode())
            session.execute("INSERT INTO schema_migrations VALUES (%s)", (version,))

    def write_config(self) -> None:
        text = CONFIG.format(
            environment=self.environment, tool=self.tool, floor=self.floor, options=self.options
        )
        (self.root / "backout.toml").write_text(text)
        lines = []
        for name in PEOPLE:
            key = self.root / f"{name}.key"
            if not key.exists():
                public = make_key(key, name)
                lines.append(allowed_signers_line(name, public))
            self.keys[name] = key
        if lines:
            (self.root / "allowed_signers").write_text("\n".join(lines) + "\n")

    def application(self, journal: SqliteJournal | None = None) -> Application:
        made = Application(self.root / "backout.toml", self.state)
        if journal is not None:
            made.__dict__["journal"] = journal
        return made

    def desk(self, journal: SqliteJournal | None = None, teller: Silent | None = None) -> Desk:
        return Desk(self.application(journal), "mara.okafor", teller or Silent())

    def open(self, *migrations: str, last: int = 1, desk: Desk | None = None) -> str:
        asked = incidents.Asked("heroes", migrations, last, "names are missing")
        return incidents.open_incident(desk or self.desk(), asked).incident.id

    def approve(
        self,
        incident: str,
        *,
        strategy: str | None = None,
        accepts: tuple[str, ...] = (),
        people: tuple[str, ...] = tuple(PEOPLE),
    ) -> None:
        for person in people:
            desk = self.desk()
            asked = signing.prepare(desk, incident, person, strategy, accepts)
            signing.sign(desk, asked, signing.How(key=self.keys[person]))

    def cli(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any], str]:
        """Type a verb with --json; its exit code, its one document (which fits its schema), and stderr."""
        capsys.readouterr()
        code = command_line([*arguments, "--config", str(self.root / "backout.toml"), "--json"])
        captured = capsys.readouterr()
        assert captured.out.count("\n") == 1, captured.out
        document = json.loads(captured.out)
        assert document["exit"] == code
        documents.assert_fits(document, documents.verb_of(arguments))
        assert commands.dead(str(document.get("next", ""))) == []
        return code, document, captured.err


@contextmanager
def world(
    server: RealServer, root: Path, monkeypatch: pytest.MonkeyPatch, state: Path | None = None
) -> Iterator[World]:
    """An empty project on a fresh database whose owner is a plain role."""
    owner = "t_owner"
    with server.connect() as admin:
        if admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (owner,)).fetchone() is None:
            admin.execute(f"CREATE ROLE {owner} LOGIN PASSWORD 'x'")
    with server.database(owner) as database:
        made = World(root, server, database, owner)
        monkeypatch.setenv("HEROES_DSN", made.dsn)
        monkeypatch.setenv("BACKOUT_STATE", str(state or made.state))
        yield made


def names_world(made: World, rows: int = 1000) -> None:
    """The case on which six migration tools were silent: full_name becomes first_name, and the down
    destroys it. 50 rows edited and one inserted by the application since."""
    first = "CREATE TABLE users (id bigserial PRIMARY KEY, full_name text, email text)"
    up = (
        "ALTER TABLE users ADD COLUMN first_name text;\nUPDATE users SET first_name = full_name;\n"
        "ALTER TABLE users DROP COLUMN full_name;"
    )
    down = "ALTER TABLE users ADD COLUMN full_name text;\nALTER TABLE users DROP COLUMN first_name;"
    made.migration("20240101000000_users", first + ";", "DROP TABLE users;")
    made.migration("20240201000000_first_name", up, down)
    with made.connect() as session:
        session.execute("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    made.applied("20240101000000", first)
    with made.connect() as session:
        session.execute(
            "INSERT INTO users (full_name, email)"
            " SELECT 'name ' || i, i || '@x' FROM generate_series(1, %s) i",
            (rows,),
        )
    made.floor = rows
    made.write_config()


def apply_names(made: World) -> None:
    """The bad migration, and what the application wrote after it."""
    text = (made.root / "migrations" / "20240201000000_first_name.sql").read_text()
    up = text.split("-- migrate:down")[0].removeprefix("-- migrate:up\n")
    made.applied("20240201000000", up)
    with made.connect() as session:
        session.execute("UPDATE users SET first_name = 'edited ' || id WHERE id <= 50")
        session.execute("INSERT INTO users (first_name, email) VALUES ('new', 'new@x')")


class Cut(BaseException):
    """The process dies here."""


class CuttingJournal(SqliteJournal):
    """A journal after whose `after`-th append the process dies."""

    def __init__(self, path: Path, after: int) -> None:
        super().__init__(path)
        self.left = after

    def append(self, *arguments: Any, **named: Any) -> Entry:
        entry = super().append(*arguments, **named)
        self.left -= 1
        if self.left == 0:
            raise Cut
        return entry


@contextmanager
def in_background(loop: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run `loop` in a thread until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=loop, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
