"""A shop behind a pooler, with base backups, an archive and a guard: what a restore with a cutover needs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from backout.adapters.servers.local import LocalServers
from backout.phases.cutover import decide
from backout.testing.servers import available_majors, free_port
from tests.cutover.sides import CLERK, SECRET, Pooler, Sides, pooler
from tests.physical.world import Production, production
from tests.story.harness import World, world

FIRST = """
CREATE TABLE users (id bigserial PRIMARY KEY, name text NOT NULL, motto text);
CREATE TABLE labels (id int PRIMARY KEY, name text);
CREATE TABLE issues (id bigserial PRIMARY KEY, author bigint NOT NULL REFERENCES users,
    label int REFERENCES labels, title text NOT NULL, version int NOT NULL DEFAULT 0);
"""
BAD = "TRUNCATE labels CASCADE; ALTER TABLE users DROP COLUMN motto; ALTER TABLE users ADD COLUMN plan text;"
ROOT = Path(__file__).resolve().parents[2]
LOGICAL = {
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "max_connections": "120",
    "fsync": "on",
}


@dataclass
class Shop:
    """One project, its production, its pooler, and where a restored instance would serve."""

    made: World
    prod: Production
    pool: Pooler
    port: int

    def connect(self) -> psycopg.Connection:
        """As the application does: through the pooler."""
        return psycopg.connect(self.pool.dsn(), autocommit=True, prepare_threshold=None, connect_timeout=10)

    def migrate(self) -> None:
        """The bad migration, again when it met the application's locks the other way round."""
        for _ in range(10):
            try:
                return self.made.applied("20240201000000", BAD)
            except psycopg.errors.DeadlockDetected:
                continue
        raise AssertionError("the migration does not get through")

    def on_new(self) -> psycopg.Connection:
        dsn = f"postgresql://{CLERK}:{SECRET}@127.0.0.1:{self.port}/{self.made.database}"
        return psycopg.connect(dsn, autocommit=True)


_started: list[subprocess.Popen[str]] = []


def _end_writers() -> None:
    """End what a failed test has left."""
    for process in _started:
        process.kill()
        process.communicate()
    _started.clear()


class Writers:
    """The application in a process of its own: a backout that shares its interpreter would slow it down."""

    def __init__(self, shop: Shop, pause: float = 0.02) -> None:
        command = [sys.executable, "-m", "tests.story.anew_writers", shop.pool.dsn(), str(pause)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        _started.append(self._process)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "writing\n"

    def stop(self) -> Ledger:
        """What the clients were told."""
        out, _ = self._process.communicate("", timeout=60)
        return Ledger(**json.loads(out))


@dataclass
class Ledger:
    """The last acknowledged state of every row that the application wrote; keys as text."""

    issues: dict[str, list[object]]
    """Title and version."""
    users: dict[str, str]
    times: list[float]
    """Of every acknowledged write, seconds since the epoch."""
    errors: list[str]

    @property
    def longest_silence(self) -> float:
        return max((b - a for a, b in pairwise(sorted(self.times))), default=0.0)


@contextmanager
def shop(major: int, root: Path, monkeypatch: pytest.MonkeyPatch, *, proof: str = "2s") -> Iterator[Shop]:
    if major not in available_majors():
        pytest.skip(f"PostgreSQL {major} is not on this machine")
    with production(major, LOGICAL) as prod, world(prod.server, root, monkeypatch) as made:
        # Beside other test processes nobody is close behind for five seconds; that gate has tests of its own.
        monkeypatch.setattr(decide, "LAG_SECONDS", 5.0)
        monkeypatch.setattr(decide, "LAG_BYTES", 1 << 30)
        _roles(prod, made)
        sides = Sides(prod.server, prod.server, made.database, "")
        with pooler(sides) as pool:
            made_shop = Shop(made, prod, pool, free_port())
            _project(made_shop, monkeypatch, proof)
            try:
                yield made_shop
            finally:
                _end_writers()
                _end_servers(made)


def _end_servers(made: World) -> None:
    """Restored instances, serving or not, and scratch servers."""
    backups = made.application().world("heroes").backups
    assert backups is not None
    for name in {*(instance.name for instance in backups.instances()), *backups.unfinished()}:
        backups.retire(name)
        backups.destroy(name)
    servers = LocalServers(made.state)
    for scratch in (*servers.running(), *servers.stopped()):
        servers.destroy(scratch)


def _roles(prod: Production, made: World) -> None:
    with prod.server.connect() as admin:
        if admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (CLERK,)).fetchone() is None:
            admin.execute(f"CREATE ROLE {CLERK} LOGIN PASSWORD '{SECRET}'".encode())
        admin.execute(f"ALTER ROLE {made.owner} REPLICATION".encode())
        admin.execute(f"GRANT pg_signal_backend TO {made.owner}".encode())


def _project(shop: Shop, monkeypatch: pytest.MonkeyPatch, proof: str) -> None:
    made, prod = shop.made, shop.prod
    made.migration("20240101000000_first", FIRST, "SELECT 1;")
    made.migration("20240201000000_labels", BAD, "SELECT 1 / 0;")
    with made.connect() as session:
        session.execute("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    made.applied("20240101000000", FIRST)
    with made.connect() as session:
        session.execute(
            f"""INSERT INTO users (name, motto) SELECT i, 'motto ' || i FROM generate_series(1, 300) i;
               INSERT INTO labels SELECT i, 'label ' || i FROM generate_series(1, 5) i;
               INSERT INTO issues (author, title) SELECT 1, 'old ' || i FROM generate_series(1, 2000) i;
               GRANT ALL ON ALL TABLES IN SCHEMA public TO {CLERK};
               GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {CLERK}""".encode()
        )
    made.write_config()
    monkeypatch.setenv("HEROES_ADMIN", prod.server.dsn(made.database))
    monkeypatch.setenv("HEROES_APP", prod.server.dsn(made.database, CLERK, SECRET))
    monkeypatch.setenv("HEROES_POOL", shop.pool.dsn())
    monkeypatch.setenv("HEROES_CONSOLE", shop.pool.admin)
    config = made.root / "backout.toml"
    operate = 'dsn.operate.env = "HEROES_DSN"'
    text = config.read_text().replace(operate, f'{operate}\ndsn.snapshot.env = "HEROES_ADMIN"')
    config.write_text(
        f"""{text}
[target.heroes.backups]
tool = "base_backup"
store = "{prod.base}/store"
archive = "{prod.archive}"
[target.heroes.traffic]
lever = "pgbouncer"
application.env = "HEROES_APP"
through.env = "HEROES_POOL"
admin.env = "HEROES_CONSOLE"
ini = "{shop.pool.ini}"
entry = "app"
port = {shop.port}
proof = "{proof}"
"""
    )
