"""A shop: a project, a database with every kind of table, and the command line typed beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import psycopg
import pytest

from backout.adapters.servers.local import LocalServers
from backout.app.compose import Application
from backout.app.desk import Desk
from backout.cli import command_line
from backout.engine.journals import SqliteJournal
from backout.postgres.catalog import digest, read_schema
from backout.testing.servers import RealServer
from tests.story.harness import Silent

CONFIG = """\
[target.shop]
environment = "production"
dsn.operate.env = "SHOP_DSN"
[target.shop.migrations]
tool = "sql"
directory = "migrations"
[target.shop.snapshot]
scope = "whole"
jobs = 1
[guard]
window = "{window}"
wal_cap = "{cap}"
[budgets]
lock_patience = "{patience}"
[channels]
file = "notices.log"
"""
TABLES = """
CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY);
CREATE TABLE users (id bigint PRIMARY KEY, name text, bio text);
INSERT INTO users SELECT n, 'user ' || n, repeat('x', 20) FROM generate_series(1, 100) n;
CREATE TABLE keyless (note text);
CREATE TABLE chosen (code text NOT NULL, note text);
CREATE UNIQUE INDEX chosen_code ON chosen (code);
CREATE TABLE later (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, note text);
CREATE TABLE refusing (id int PRIMARY KEY, note text);
ALTER TABLE refusing REPLICA IDENTITY NOTHING;
CREATE TABLE indexed (code text NOT NULL, note text);
CREATE UNIQUE INDEX indexed_code ON indexed (code);
ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_code;
CREATE UNLOGGED TABLE cache (id int PRIMARY KEY);
CREATE TABLE events (id int, day date, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TABLE parent (id int PRIMARY KEY, note text);
CREATE TABLE child () INHERITS (parent);
CREATE SEQUENCE numbers;
CREATE MATERIALIZED VIEW names AS SELECT name FROM users;
"""


@dataclass
class Shop:
    """A configured project beside a real database whose owner is a plain role."""

    root: Path
    server: RealServer
    database: str
    role: str
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    @property
    def dsn(self) -> str:
        return self.server.dsn(self.database, self.role, "x")

    @property
    def state(self) -> Path:
        return self.root / "state"

    def configure(self, *, window: str = "24h", cap: str = "8GB", patience: str = "5s") -> None:
        text = CONFIG.format(window=window, cap=cap, patience=patience)
        (self.root / "backout.toml").write_text(text)

    def admin(self) -> psycopg.Connection:
        return self.server.connect(self.database)

    def connect(self) -> psycopg.Connection:
        """As the application."""
        return psycopg.connect(self.dsn, autocommit=True)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.admin() as session:
            return session.execute(query.encode()).fetchall()

    def type(self, *words: str) -> tuple[int, dict[str, Any], str]:
        """Type a verb with --json before any `--`; exit code, document, stderr unwrapped."""
        at = words.index("--") if "--" in words else len(words)
        given = (*words[:at], "--json", "--config", str(self.root / "backout.toml"), *words[at:])
        self.capsys.readouterr()
        code = command_line(given)
        said = self.capsys.readouterr()
        return code, json.loads(said.out), " ".join(said.err.split())

    def desk(self, journal: SqliteJournal | None = None) -> Desk:
        app = Application(self.root / "backout.toml", self.state)
        if journal is not None:
            app.__dict__["journal"] = journal
        return Desk(app, "mara.okafor", Silent())

    def peek(self, slot: str) -> list[bytes]:
        """What the slot holds, read as pgoutput says it and left where it is."""
        options = f"'proto_version', '1', 'publication_names', '{slot},{slot}_ins', 'messages', 'true'"
        query = f"SELECT data FROM pg_logical_slot_peek_binary_changes('{slot}', NULL, NULL, {options})"
        return [bytes(row[0]) for row in self.rows(query)]

    def everything(self) -> tuple[object, ...]:
        """All that a guard can leave on a server, and the digest of the catalog."""
        with self.admin() as session:
            return (
                digest(read_schema(session)),
                *session.execute(
                    "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()"
                ).fetchall(),
                *session.execute("SELECT pubname::text FROM pg_publication").fetchall(),
                *session.execute("SELECT roname FROM pg_replication_origin").fetchall(),
            )


@contextmanager
def shop_on(
    server: RealServer,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rights: str = "REPLICATION",
    restore_points: bool = True,
) -> Iterator[Shop]:
    """A fresh role with these rights, its database, its project."""
    role = f"r_{token_hex(4)}"
    with server.connect() as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x' {rights}".encode())
    with server.database(role) as database:
        made = Shop(root, server, database, role, monkeypatch, capsys)
        with made.admin() as admin:
            admin.execute(f"ALTER SCHEMA public OWNER TO {role}".encode())
            if restore_points:
                for function in ("pg_create_restore_point(text)", "pg_switch_wal()"):
                    admin.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {role}".encode())
        with made.connect() as session:
            session.execute(TABLES.encode())
        (root / "migrations").mkdir()
        up, down = "ALTER TABLE users ADD COLUMN nick text;", "ALTER TABLE users DROP COLUMN nick;"
        text = f"-- migrate:up\n{up}\n-- migrate:down\n{down}\n"
        (root / "migrations" / "20240101_nick.sql").write_text(text)
        made.configure()
        monkeypatch.setenv("SHOP_DSN", made.dsn)
        monkeypatch.setenv("BACKOUT_STATE", str(made.state))
        monkeypatch.chdir(root)
        try:
            yield made
        finally:
            scratch = LocalServers(made.state)
            for running in scratch.running():
                scratch.destroy(running)
            _forget_slots(server, database)
    with server.connect() as admin:
        admin.execute(f"DROP OWNED BY {role}".encode())
        admin.execute(f"DROP ROLE {role}".encode())


def _forget_slots(server: RealServer, database: str) -> None:
    """A database with a slot cannot be dropped."""
    with server.connect() as admin:
        admin.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s",
            (database,),
        )
