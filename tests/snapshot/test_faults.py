"""Faults while a dump is taken: nothing is registered, and the next command finds the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from backout.adapters.store.directory import DirectoryStore
from backout.errors import BackoutError, Stopped
from backout.postgres import dump
from backout.postgres.dump_files import unfinished
from tests.snapshot.helpers import NAME, Bench


@pytest.fixture
def wide(bench: Bench) -> Iterator[str]:
    """A database whose dump is some megabytes that do not compress away."""
    with bench.source.database() as name:
        with bench.source.connect(name) as admin:
            admin.execute(
                "CREATE TABLE wide AS SELECT g, sha256(g::text::bytea) || sha256((-g)::text::bytea) AS body"
                " FROM generate_series(1, 60000) g"
            )
            admin.execute("CREATE TABLE blocked (id int)")
        yield name


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this system lets nobody mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def wait_for(path: Path) -> str:
    """The content of a file as soon as it has some."""
    for _ in range(200):
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


def test_a_full_disk_leaves_nothing(bench: Bench, wide: str, tiny_disk: Path):
    with pytest.raises(Stopped, match=r"could not be written: .*No space left"):
        dump.take_dump(bench.source.dsn(wide), bench.binaries, tiny_disk / "s", application_name=NAME)
    assert list(tiny_disk.iterdir()) == []


def test_a_killed_pg_dump_leaves_nothing(bench: Bench, wide: str, tmp_path: Path):
    caught: list[BackoutError] = []

    def take() -> None:
        try:
            dump.take_dump(bench.source.dsn(wide), bench.binaries, tmp_path / "s", application_name=NAME)
        except BackoutError as error:
            caught.append(error)

    with bench.source.connect(wide) as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE blocked")
        thread = threading.Thread(target=take)
        thread.start()
        os.kill(int(wait_for(tmp_path / "s.part" / "pg_dump.pid")), signal.SIGKILL)
        thread.join(20)
    assert [error.what.split(":")[0] for error in caught] == ["pg_dump died (signal 9)"]
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_is_cut_leaves_nothing(bench: Bench, wide: str, tmp_path: Path):
    caught: list[BackoutError] = []

    def take() -> None:
        try:
            dump.take_dump(bench.source.dsn(wide), bench.binaries, tmp_path / "s", application_name="cut_me")
        except BackoutError as error:
            caught.append(error)

    with bench.source.connect(wide) as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE blocked")
        thread = threading.Thread(target=take)
        thread.start()
        wait_for(tmp_path / "s.part" / "pg_dump.pid")
        time.sleep(0.3)
        with bench.source.connect() as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'cut_me' AND query LIKE 'LOCK%'"
            )
        thread.join(20)
    assert len(caught) == 1 and isinstance(caught[0], Stopped)
    assert list(tmp_path.iterdir()) == []


TAKE = """
import sys
from pathlib import Path
from backout.postgres.binaries import client_for
from backout.postgres.dump import Limits, take_dump
dsn, binaries = sys.stdin.readline(), client_for(int(sys.argv[1]))
limits = Limits(lock_wait_seconds=60)
take_dump(dsn, binaries, Path(sys.argv[2]), application_name="backout/test/1", limits=limits)
"""


def test_after_kill_9_the_orphan_is_ended_and_its_files_go(bench: Bench, wide: str, tmp_path: Path):
    with bench.source.connect(wide) as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE blocked")
        store = DirectoryStore(tmp_path)
        target = store.directory("snapshots", "s-1")
        child = subprocess.Popen(
            [sys.executable, "-c", TAKE, str(bench.source.major), str(target)],
            stdin=subprocess.PIPE,
            text=True,
        )
        assert child.stdin is not None
        child.stdin.write(bench.source.dsn(wide))
        child.stdin.close()
        orphan = int(wait_for(target.with_name("s-1.part") / "pg_dump.pid"))
        child.kill()
        child.wait()
        assert Path(f"/proc/{orphan}").exists()
        assert store.names("snapshots") == ()
        (left,) = store.unfinished()
        assert unfinished(target.parent) == (left,)
        store.remove(left)
        assert store.unfinished() == ()
        assert str(left) not in command_lines()


def command_lines() -> str:
    """The command lines of all processes, in full."""
    lines = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            lines.append(place.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(lines)


def test_no_secret_reaches_a_command_line(bench: Bench, wide: str, tmp_path: Path):
    seen: list[str] = []

    def look(written: int) -> None:
        seen.append(command_lines())

    dsn = bench.source.dsn(wide, password="hunter2hunter2")
    with bench.source.connect(wide) as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE blocked")
        with pytest.raises(BackoutError) as failed:
            dump.take_dump(
                dsn,
                bench.binaries,
                tmp_path / "s",
                application_name=NAME,
                progress=look,
                limits=dump.Limits(lock_wait_seconds=0.5),
            )
    assert any("--snapshot=" in line for line in seen)
    assert not any("hunter2" in line for line in seen)
    assert "hunter2" not in f"{failed.value!r} {failed.value.where}"


def test_the_database_is_readable_after_all_this(bench: Bench, wide: str):
    with psycopg.connect(bench.source.dsn(wide)) as session:
        assert session.execute("SELECT count(*) FROM wide").fetchone() == (60000,)
