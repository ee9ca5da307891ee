"""The contract of the port `migrator`, as tests that any adapter, ours or a stranger's, must pass.

A test module makes a class of its own from `MigratorContract` and defines the fixture `world`, which
yields a `MigratorWorld`: a git repository with a project of at least four migrations, whose files are
committed, and an empty database owned by the role of the endpoint, reachable over TCP with a password.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from psycopg import Connection, sql

from backout.model.migration import FoundIn
from backout.ports.migrator import Endpoint, Migrator, ToolEnvironment, ToolResult

SECONDS = 60.0
"""How long one run of a tool may take in these tests."""
_SCHEMA = """
SELECT c.relname, c.relkind, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY 1, 2, 3
"""


class Patch(Protocol):
    """What we need of pytest's `monkeypatch`."""

    def setenv(self, name: str, value: str) -> None: ...


@dataclass(frozen=True, slots=True)
class MigratorWorld:
    """One project on one database."""

    make: Callable[[], Migrator]
    """A new adapter for the project, as the next process would make it."""
    project: Path
    names: tuple[str, ...]
    """The names of the migrations as the history shows them, oldest first."""
    endpoint: Endpoint
    connect: Callable[[], Connection[Any]]
    """An autocommit superuser session on the endpoint's database."""
    reconfigure: Callable[[], None]
    """Change a file that decides the tool's behaviour."""
    private: Path
    """An empty directory for generated files."""

    def environment(self, migrator: Migrator) -> ToolEnvironment:
        """The tool pointed straight at the database."""
        return migrator.redirect(self.endpoint, self.private)

    def apply(self, migrator: Migrator, count: int) -> ToolResult:
        """Run the next `count` ups and demand that the history shows them."""
        before = len(self.history(migrator))
        result = migrator.apply(count, self.environment(migrator), SECONDS)
        assert len(self.history(migrator)) == before + count, result.output
        return result

    def history(self, migrator: Migrator) -> tuple[str, ...]:
        """Names of the applied migrations."""
        with self.connect() as session:
            return tuple(row.name for row in migrator.history(session).rows)

    def schema(self) -> str:
        """Digest of all relations and columns of the user; NOT NULL apart, which a lossy down may forget."""
        with self.connect() as session:
            return hashlib.sha256(repr(session.execute(_SCHEMA).fetchall()).encode()).hexdigest()


@dataclass(slots=True)
class Listener:
    """A TCP address that counts who came; forwards them when it has somewhere to go."""

    port: int
    sessions: int = 0


@contextlib.contextmanager
def listening(forward_to: tuple[str, int] | None = None) -> Iterator[Listener]:
    """A forwarder on loopback, or (without a target) a decoy that closes every connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = Listener(server.getsockname()[1])
        threading.Thread(target=_accept, args=(server, listener, forward_to), daemon=True).start()
        yield listener


def _accept(server: socket.socket, listener: Listener, target: tuple[str, int] | None) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        listener.sessions += 1
        if target is None:
            client.close()
            continue
        threading.Thread(target=_relay, args=(client, target), daemon=True).start()


def _relay(client: socket.socket, target: tuple[str, int]) -> None:
    with client, socket.create_connection(target) as upstream:
        back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
        back.start()
        _pump(client, upstream)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def command_lines(word: str) -> Iterator[list[str]]:
    """Collect every command line on this machine that shows `word` while the block runs."""
    seen: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.01):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    if word.encode() in (shown := file.read_bytes()):
                        seen.append(shown.replace(b"\0", b" ").decode("utf-8", "replace"))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def without_a_file(world: MigratorWorld, migrator: Migrator, name: str) -> None:
    """Delete the files of one migration from the worktree."""
    for file in migrator.files():
        if file.name == name:
            for path in file.paths:
                (world.project / path).unlink()


def commit_everything(project: Path, message: str) -> None:
    """Make the project a git repository (when it is none) and commit what is there."""
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", message]):
        subprocess.run(["git", *identity, *arguments], cwd=project, check=True, capture_output=True)  # noqa: S603, S607


class MigratorContract:
    """Scenarios that hold for every migration tool."""

    def test_files_come_in_the_order_of_the_tool(self, world: MigratorWorld) -> None:
        migrator = world.make()
        files = migrator.files()
        assert tuple(file.name for file in files) == world.names
        assert all((world.project / path).is_file() for file in files for path in file.paths)
        assert all(file.author == "Ada <ada@example.org>" for file in files)
        world.apply(migrator, len(world.names))
        assert world.history(migrator) == world.names

    def test_looking_changes_nothing_and_finds_a_healthy_project_healthy(self, world: MigratorWorld) -> None:
        migrator = world.make()
        before = world.schema()
        with world.connect() as session:
            session.execute("SET default_transaction_read_only = on")
            session.execute("SET search_path = pg_catalog")
            migrator.history(session)
        migrator.files()
        migrator.environment_digest()
        checks = migrator.checks()
        assert checks
        assert [check for check in checks if not check.good] == []
        assert world.schema() == before

    def test_unapply_reverts_exactly_the_newest(self, world: MigratorWorld) -> None:
        migrator = world.make()
        world.apply(migrator, len(world.names) - 3)
        three_below = world.schema()
        world.apply(migrator, 2)
        one_below = world.schema()
        world.apply(migrator, 1)
        result = migrator.unapply(1, world.environment(migrator), SECONDS)
        assert (world.history(migrator), world.schema()) == (world.names[:-1], one_below), result.output
        result = migrator.unapply(2, world.environment(migrator), SECONDS)
        assert (world.history(migrator), world.schema()) == (world.names[:-3], three_below), result.output

    def test_a_down_that_fails_is_a_result_and_leaves_the_history(self, world: MigratorWorld) -> None:
        migrator = world.make()
        world.apply(migrator, len(world.names))
        before = world.schema()
        with world.connect() as session:
            session.execute(
                "CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'not today'; END $$"
            )
            session.execute(
                "CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION public.refuse()"
            )
            result = migrator.unapply(1, world.environment(migrator), SECONDS)
            session.execute("DROP EVENT TRIGGER refuse")
            session.execute("DROP FUNCTION public.refuse()")
        assert "not today" in result.output
        assert (world.history(migrator), world.schema()) == (world.names, before)

    def test_a_file_that_is_gone_is_found_in_the_git_history(self, world: MigratorWorld) -> None:
        migrator = world.make()
        wanted = migrator.files()[-1]
        without_a_file(world, migrator, wanted.name)
        assert wanted.name not in [file.name for file in migrator.files()]
        found = migrator.find_missing(wanted.name)
        assert found is not None
        assert (found.found_in, found.sha256, found.down) == (
            FoundIn.GIT_HISTORY,
            wanted.sha256,
            wanted.down,
        )
        assert len(found.origin) == 40
        commit_everything(world.project, "roll the image back")
        again = migrator.find_missing(wanted.name)
        assert again is not None
        assert (again.origin, again.sha256) == (found.origin, wanted.sha256)
        assert migrator.find_missing("never-was-there") is None

    def test_the_tool_goes_where_it_is_pointed_and_nowhere_else(
        self, world: MigratorWorld, monkeypatch: Patch
    ) -> None:
        migrator = world.make()
        real = (world.endpoint.host, world.endpoint.port)
        with listening(real) as proxy, listening() as production:
            address = f"postgresql://owner:real@127.0.0.1:{production.port}/app"
            for name in ("DATABASE_URL", "POSTGRES_URL", "MY_SECRET_PLACE"):
                monkeypatch.setenv(name, address)
            for name, value in (("PGHOST", "127.0.0.1"), ("PGPORT", str(production.port))):
                monkeypatch.setenv(name, value)
            pointed = replace(world.endpoint, port=proxy.port)
            environment = migrator.redirect(pointed, world.private)
            with command_lines(pointed.password) as seen:
                applied = migrator.apply(1, environment, SECONDS)
                came = proxy.sessions
                reverted = migrator.unapply(1, environment, SECONDS)
                nothing_to_do = migrator.unapply(1, environment, SECONDS)
            assert 0 < came < proxy.sessions
            assert production.sessions == 0
        assert world.history(migrator) == (), reverted.output
        shown = applied.output + reverted.output + nothing_to_do.output + " ".join(environment.arguments)
        assert seen == []
        assert pointed.password not in shown + repr(environment)

    def test_a_run_past_its_deadline_is_ended(self, world: MigratorWorld) -> None:
        migrator = world.make()
        world.apply(migrator, 1)
        before = world.schema()
        with world.connect() as session:
            table = migrator.history(session).table
            session.autocommit = False
            session.execute(sql.SQL("LOCK TABLE ") + sql.SQL(table))
            result = migrator.unapply(1, world.environment(migrator), 1.0)
            session.rollback()
        assert result.timed_out
        assert result.seconds < 10
        self._wait_until_nobody_works(world)
        assert (world.history(migrator), world.schema()) == (world.names[:1], before)

    @staticmethod
    def _wait_until_nobody_works(world: MigratorWorld) -> None:
        end = time.monotonic() + 10
        with world.connect() as session:
            while time.monotonic() < end:
                others = session.execute(
                    "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = current_database() "
                    "AND usename = %s AND pid <> pg_catalog.pg_backend_pid()",
                    (world.endpoint.user,),
                ).fetchone()
                if others is not None and others[0] == 0:
                    return
                time.sleep(0.05)
        raise AssertionError("a session of the tool lives on after its deadline")

    def test_the_environment_digest_follows_the_configuration(self, world: MigratorWorld) -> None:
        before = world.make().environment_digest()
        assert world.make().environment_digest() == before
        world.reconfigure()
        assert world.make().environment_digest() != before

    def test_the_version_names_the_tool(self, world: MigratorWorld) -> None:
        migrator = world.make()
        assert migrator.version().split()[0] in (migrator.name, "dbmate", "golang-migrate")
