"""A production with a WAL archive and a store for base backups, and what tests ask of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from backout.adapters.backups.base_backup import BaseBackups
from backout.model.recovery import Commit, Line, Lsn, NamedPoint, TwinAfter, TwinBefore
from backout.ports.backups import Instance, Surroundings
from backout.postgres import servers
from backout.postgres.connect import open_session
from backout.postgres.physical.archiving import settle_archive
from backout.testing.servers import RealServer, available_majors, start_server, stop_server

DATABASE = "postgres"


def value(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


@dataclass(frozen=True)
class Production:
    server: RealServer
    base: Path

    @property
    def archive(self) -> Path:
        return self.base / "archive"

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(self.base / "instances", self.base, self.server.dsn(DATABASE))

    @property
    def backups(self) -> BaseBackups:
        return BaseBackups(self.base / "store", (self.archive,), self.surroundings)

    def connect(self) -> psycopg.Connection:
        return self.server.connect(DATABASE)

    def run(self, *statements: str) -> None:
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def ask(self, query: str) -> object:
        with self.connect() as connection:
            return value(connection, query)

    def clear(self) -> None:
        """As new, but for the WAL that was written."""
        for instance in self.backups.instances():
            self.remove(instance.name)
        shutil.rmtree(self.base / "store", ignore_errors=True)
        tables = self.ask("SELECT string_agg(tablename, ', ') FROM pg_tables WHERE schemaname = 'public'")
        if tables:
            self.run(f"DROP TABLE {tables} CASCADE")

    def remove(self, name: str) -> None:
        """An instance is gone, also one that serves."""
        self.backups.retire(name)
        self.backups.destroy(name)

    def line(self) -> Line:
        row = self.ask(
            "SELECT (SELECT system_identifier FROM pg_control_system()) || ' ' || timeline_id "
            "FROM pg_control_checkpoint()"
        )
        identifier, timeline = str(row).split()
        return Line(identifier, int(timeline))

    def point(self, name: str) -> NamedPoint:
        return NamedPoint(name, Lsn.parse(str(self.ask(f"SELECT pg_create_restore_point('{name}')"))))

    def position(self) -> Lsn:
        return Lsn.parse(str(self.ask("SELECT pg_current_wal_insert_lsn()")))

    def settle(self) -> str:
        """Everything up to now is in the archive."""
        with open_session(self.server.dsn(DATABASE), "backout/test/0") as session:
            return settle_archive(session, self.position(), 30)

    def rows(self, instance: Instance, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.backups.conninfo(instance, DATABASE)) as connection:
            return connection.execute(query.encode()).fetchall()

    def twin(self, xid: int, commit: Lsn) -> tuple[TwinBefore, TwinAfter]:
        line, at = self.line(), Commit(xid, commit)
        return TwinBefore(line, at), TwinAfter(line, at)


@contextmanager
def production(
    major: int,
    settings: dict[str, str] | None = None,
    *,
    hba: str = "",
    files: dict[str, bytes] | None = None,
) -> Iterator[Production]:
    base = servers.private_directory("bkphys")
    base.chmod(0o711)
    (base / "archive").mkdir(mode=0o700)
    servers.give(base / "archive")
    chosen = {
        "archive_mode": "on",
        "archive_command": f"cp %p {base}/archive/%f",
        "wal_level": "replica",
        "full_page_writes": "on",  # a base backup of a standby asks for it
        "synchronous_commit": "on",  # else a commit is acknowledged before its WAL can be read
        "min_wal_size": "80MB",
        "max_wal_size": "1GB",
        **(settings or {}),
    }
    server = start_server(major, settings=chosen, hba=hba, files=files)
    world = Production(server, base)
    try:
        yield world
    finally:
        for path in (base / "instances").glob("*/server.json"):
            world.remove(path.parent.name.partition("-")[2])
        stop_server(server)
        shutil.rmtree(base, ignore_errors=True)


class Productions:
    """One a version for all tests of a session, started when first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._running: dict[int, Production] = {}

    def of(self, major: int) -> Production:
        if major not in available_majors():
            pytest.skip(f"PostgreSQL {major} is not on this machine")
        if major not in self._running:
            self._running[major] = self._stack.enter_context(production(major))
        return self._running[major]
