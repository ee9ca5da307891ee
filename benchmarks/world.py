"""The server of a run and its databases: one table of heroes, clones of it, tables that nobody touches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import sql

from backout.postgres.binaries import Binaries, client_for
from backout.testing.servers import RealServer, available_majors, start_server, stop_server

# About 250 bytes a row: keys, names, numbers, a moment, a document.
_COLUMNS = """g AS id, 'hero' || g || '@example.org' AS email, 'Name ' || g % 9973 AS first_name,
 'Family ' || g % 99991 AS last_name, g % 1000 AS score, (g % 100000) / 7.0 AS balance,
 timestamptz '2024-01-01 00:00Z' + g * interval '1 second' AS seen_at, g % 3 = 0 AS active,
 jsonb_build_object('level', g % 50, 'guild', 'guild ' || g % 500, 'note', md5(g::text)) AS profile"""
TABLE = "public.heroes"
DOWN = """ALTER TABLE public.heroes DROP COLUMN first_name;
UPDATE public.heroes SET score = score + 1 WHERE id % 100 = 0"""
"""One column dropped, one row in a hundred changed."""
DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "autovacuum": "on",
    "max_wal_size": "1GB",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "64MB",
}
"""PostgreSQL's own defaults: servers of `backout.testing` forget what they hold, and are faster by that."""


@dataclass(frozen=True, slots=True)
class World:
    """A private server for one run of the benchmarks."""

    server: RealServer

    @property
    def client(self) -> Binaries:
        """Client programs of the server's version."""
        return client_for(self.server.major)

    def dsn(self, database: str) -> str:
        return self.server.layout.conninfo(database)

    def run(self, database: str, *statements: str) -> None:
        """Statements each in a transaction of its own; the session is gone at the end."""
        with self.server.connect(database) as session:
            for statement in statements:
                session.execute(statement.encode())

    def bytes_of(self, database: str) -> int:
        """Size of a database."""
        with self.server.connect() as session:
            row = session.execute("SELECT pg_database_size(%s)", (database,)).fetchone()
        assert row is not None
        return int(row[0])

    def create(self, database: str, rows: int) -> None:
        """A database with so many heroes, vacuumed, so that nobody pays for hint bits later."""
        self.run("postgres", f"CREATE DATABASE {database}")
        self.run(
            database,
            heroes(TABLE, 1, rows),
            f"ALTER TABLE {TABLE} ADD PRIMARY KEY (id)",
            f"VACUUM (FREEZE, ANALYZE) {TABLE}",
            "CHECKPOINT",
        )

    def clone(self, template: str, database: str) -> None:
        """Copy a database file by file, as copies for a rehearsal are made."""
        strategy = "STRATEGY FILE_COPY" if self.server.major >= 15 else ""
        self.run("postgres", f"CREATE DATABASE {database} TEMPLATE {template} {strategy}")

    def drop(self, database: str) -> None:
        """Drop a database with its sessions."""
        with self.server.connect() as admin:
            name = sql.Identifier(database)
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def heroes(table: str, first: int, last: int) -> str:
    """The statement that makes a table of heroes."""
    return f"CREATE TABLE {table} AS SELECT {_COLUMNS} FROM generate_series({first}, {last}) g"  # noqa: S608


@contextmanager
def world(major: int | None = None, settings: Mapping[str, str] | None = None) -> Iterator[World]:
    """A server of this major version (default: the newest on the machine), destroyed at the end."""
    chosen = {"max_wal_size": "8GB"} if settings is None else dict(settings)
    server = start_server(major or available_majors()[-1], settings=chosen)
    try:
        yield World(server)
    finally:
        stop_server(server)
