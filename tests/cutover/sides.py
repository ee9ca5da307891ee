"""Two real servers with the same application's database, native replication between them, and a pooler."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import pytest

from backout.postgres import servers
from backout.postgres.dead_man import Wire
from backout.testing.servers import RealServer, available_majors, free_port, start_server, stop_server
from tests import slots

SETTINGS = {
    "wal_level": "logical",
    "max_logical_replication_workers": "8",
    "max_worker_processes": "16",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "wal_receiver_status_interval": "1s",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "120",
}
SCHEMA = """
CREATE TABLE events (id bigserial PRIMARY KEY, writer int NOT NULL, number int NOT NULL,
                     seen int NOT NULL DEFAULT 0, UNIQUE (writer, number));
CREATE SCHEMA backout;
CREATE TABLE backout.marker (token text PRIMARY KEY);
INSERT INTO events (writer, number) SELECT -1, n FROM generate_series(1, 100) n;
INSERT INTO backout.marker VALUES ('seed');
ANALYZE;
GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO clerk;
"""
CLERK, SECRET = "clerk", "clerk-secret"
OWNER = "shopkeeper"
"""Owns the database and has REPLICATION and pg_signal_backend; no superuser."""

_pairs: dict[int, tuple[RealServer, RealServer]] = {}


def pair_of(major: int) -> tuple[RealServer, RealServer]:
    """The two servers of this major, started when first asked for."""
    if major not in available_majors():
        pytest.skip(f"PostgreSQL {major} is not on this machine")
    if major not in _pairs:
        both = (start_server(major, settings=SETTINGS), start_server(major, settings=SETTINGS))
        for server in both:
            with server.connect() as admin:
                admin.execute(f"CREATE ROLE {CLERK} LOGIN PASSWORD '{SECRET}'".encode())
                admin.execute(f"CREATE ROLE {OWNER} LOGIN REPLICATION PASSWORD '{SECRET}'".encode())
                admin.execute(f"GRANT pg_signal_backend TO {OWNER}".encode())
        _pairs[major] = both
    return _pairs[major]


def stop_pairs() -> None:
    for both in _pairs.values():
        for server in both:
            stop_server(server)
    _pairs.clear()


@dataclass(frozen=True)
class Sides:
    """The application's database on both servers; the new one follows the old one."""

    old: RealServer
    new: RealServer
    database: str
    subscription: str

    def turned(self) -> Sides:
        """The same, for the way back."""
        return Sides(self.new, self.old, self.database, "")


@contextmanager
def sides(major: int) -> Iterator[Sides]:
    old, new = pair_of(major)
    name = f"app_{token_hex(4)}"
    for server in (old, new):
        with server.connect() as admin:
            admin.execute(f"CREATE DATABASE {name} OWNER {OWNER}".encode())
        with server.connect(name) as session:
            session.execute(f"SET ROLE {OWNER}".encode())
            session.execute(SCHEMA)
    made = Sides(old, new, name, f"sub_{name}")
    _subscribe(made)
    try:
        yield made
    finally:
        for server in (new, old):
            _remove(server, name)


def _subscribe(made: Sides) -> None:
    with made.old.connect(made.database) as session:
        session.execute("CREATE PUBLICATION forth FOR ALL TABLES")
        session.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (made.subscription,))
    with made.new.connect(made.database) as session:
        session.execute(
            f"CREATE SUBSCRIPTION {made.subscription} CONNECTION '{made.old.dsn(made.database)}' "
            f"PUBLICATION forth WITH (copy_data = false, create_slot = false, "
            f"slot_name = '{made.subscription}', synchronous_commit = 'on')".encode()
        )


def _remove(server: RealServer, name: str) -> None:
    with server.connect() as admin:
        admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1".encode())
    with server.connect(name) as session:
        session.execute("SET default_transaction_read_only = off")
        for (sub,) in session.execute(
            "SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid "
            "WHERE datname = current_database()"
        ).fetchall():
            session.execute(f"ALTER SUBSCRIPTION {sub} DISABLE".encode())
            session.execute(f"ALTER SUBSCRIPTION {sub} SET (slot_name = NONE)".encode())
            session.execute(f"DROP SUBSCRIPTION {sub}".encode())
    with server.connect() as admin:
        rows = "SELECT slot_name FROM pg_replication_slots WHERE database = %s"
        for (slot,) in admin.execute(rows, (name,)).fetchall():
            slots.drop(admin, slot)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@dataclass
class Pooler:
    """A PgBouncer of our own, with one entry `app`."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def ini(self) -> Path:
        return self.directory / "pgbouncer.ini"

    @property
    def admin(self) -> str:
        return f"postgresql://keeper:keeper-secret@127.0.0.1:{self.port}/pgbouncer"

    def dsn(self, more: str = "") -> str:
        return f"postgresql://{CLERK}:{SECRET}@127.0.0.1:{self.port}/app{more}"

    def start(self) -> None:
        user = servers.service_user()
        entry = pwd.getpwnam(user) if user else None
        with (self.directory / "pgbouncer.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["pgbouncer", str(self.ini)],
                stdout=subprocess.DEVNULL,
                stderr=log,
                user=entry.pw_uid if entry else None,
                group=entry.pw_gid if entry else None,
                extra_groups=[] if entry else None,
            )
        for _ in range(200):
            try:
                self.ask("SHOW VERSION")
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError((self.directory / "pgbouncer.log").read_text())

    def ask(self, statement: str) -> list[dict[str, str | None]]:
        wire = Wire(
            {
                "host": "127.0.0.1",
                "port": self.port,
                "user": "keeper",
                "password": "keeper-secret",
                "database": "pgbouncer",
            }
        )
        try:
            return wire.ask(statement)
        finally:
            wire.close()

    def entry(self) -> dict[str, str | None]:
        return next(row for row in self.ask("SHOW DATABASES") if row["name"] == "app")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


INI = """[databases]
; the shop
app = host=127.0.0.1 port={old} dbname={database} user={clerk} password={secret}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
admin_users = keeper
pool_mode = {mode}
default_pool_size = 30
min_pool_size = {idle}
query_wait_timeout = {wait}
server_login_retry = 1
max_client_conn = 200
"""


@contextmanager
def pooler(sides: Sides, *, mode: str = "transaction", idle: int = 0, wait: int = 60) -> Iterator[Pooler]:
    if shutil.which("pgbouncer") is None:
        pytest.skip("pgbouncer is not on this machine: apt-get install pgbouncer")
    directory = servers.private_directory("bkpool")
    made = Pooler(directory, free_port())
    users = directory / "users.txt"
    users.write_text(f'"keeper" "keeper-secret"\n"{CLERK}" "{SECRET}"\n')
    made.ini.write_text(
        INI.format(
            old=sides.old.port,
            database=sides.database,
            clerk=CLERK,
            secret=SECRET,
            port=made.port,
            users=users,
            mode=mode,
            idle=idle,
            wait=wait,
        )
    )
    for path in (users, made.ini):
        path.chmod(0o600)
        servers.give(path)
    made.start()
    try:
        yield made
    finally:
        made.kill()
        shutil.rmtree(directory, ignore_errors=True)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
