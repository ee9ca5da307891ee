"""Incremental base backups: taken where the server can, restored as one, and a full one wherever they end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backout.adapters.backups.base_backup import BaseBackups
from backout.errors import Refused
from backout.model.recovery import BackupEnd, ForReplay
from backout.ports.backups import Backup
from backout.postgres.physical import base_backup, growing
from backout.postgres.physical.blocks import shares_blocks, shares_blocks_within
from backout.postgres.physical.clone import clone
from backout.postgres.physical.combine import whole_bytes
from backout.postgres.physical.growing import bytes_in
from tests.physical.conftest import Shared
from tests.physical.world import Production, production

pytestmark = pytest.mark.slow  # servers are copied for real

ROWS = 20_000


@pytest.fixture(scope="module")
def _summarizing() -> Iterator[Production]:
    with production(18, {"summarize_wal": "on"}) as source:
        yield source


@pytest.fixture
def source18(_summarizing: Production) -> Production:
    """A production that keeps which blocks changed, with a table of 3 MB."""
    _summarizing.clear()
    _summarizing.run(f"CREATE TABLE t AS SELECT i, repeat('x', 100) v FROM generate_series(1, {ROWS}) i")
    return _summarizing


def store(source: Production, said: list[str], **options: int) -> BaseBackups:
    """The backups of a production; what they tell people is added to `said`."""
    surroundings = replace(source.surroundings, tell=said.append)
    return BaseBackups(source.base / "store", (source.archive,), surroundings, **options)


def chains(backups: BaseBackups) -> dict[str, tuple[str, ...]]:
    return {backup.id: backup.needs for backup in backups.list()}


def change(source: Production, row: int) -> None:
    source.run(f"UPDATE t SET v = 'changed' WHERE i = {row}")


def at_its_end(source: Production, backup: Backup) -> BackupEnd:
    return BackupEnd(source.line(), backup.id, backup.stop)


def test_what_changed_is_taken_and_restored_with_what_it_stands_on(source18: Production):
    said: list[str] = []
    backups = store(source18, said)
    full = backups.take("monday")
    change(source18, 1)
    first = backups.take("tuesday")
    source18.run("DELETE FROM t WHERE i > 10000", "VACUUM t", "CREATE TABLE later AS SELECT 1")
    second = backups.take("wednesday")
    assert chains(backups) == {"monday": (), "tuesday": ("monday",), "wednesday": ("monday", "tuesday")}
    assert first.stored_bytes < full.stored_bytes == full.size_bytes
    assert "a full backup of" in said[0] and "it is the first one" in said[0]
    assert said[-1] == "an incremental backup: only what changed since tuesday"

    change(source18, 2)
    point = source18.point("before_it")
    source18.run("DELETE FROM t")
    source18.settle()
    instance = backups.restore_new(ForReplay(source18.line(), point), "one")
    assert instance.backup == "wednesday"
    assert source18.rows(instance, "SELECT i FROM t WHERE v = 'changed' ORDER BY i") == [(1,), (2,)]
    assert source18.rows(instance, "SELECT count(*) FROM t") == [(10000,)]
    assert any(line.startswith("combining 3 backups with pg_combinebackup --co") for line in said)
    assert second.size_bytes < first.size_bytes, "it stands for a cluster that has become smaller"


def test_the_size_of_what_is_combined_is_known_before_it_is(source18: Production):
    backups = store(source18, [])
    backups.take("monday")
    source18.run("INSERT INTO t SELECT * FROM t WHERE i < 5000", "DELETE FROM t WHERE i = 7")
    taken = backups.take("tuesday")
    goal = source18.base / "combined"
    binaries = source18.server.layout.binaries
    chain = [source18.base / "store" / one / "data" for one in ("monday", "tuesday")]
    subprocess.run(
        [binaries.program("pg_combinebackup"), f"--output={goal}", *map(str, chain)], check=True, timeout=60
    )

    def written_anew(data: Path) -> int:
        return sum((data / name).stat().st_size for name in ("backup_manifest", "backup_label"))

    assert taken.size_bytes == whole_bytes(chain[1])
    assert taken.size_bytes - written_anew(chain[1]) == bytes_in(goal) - written_anew(goal)
    shutil.rmtree(goal)


def test_the_progress_of_a_backup_says_what_is_left_where_the_whole_is_known(
    source18: Production, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(growing, "EVERY_SECONDS", 0.02)
    said: list[str] = []
    store(source18, said).take("a")
    assert any(re.fullmatch(r"0\.\d\d of 0\.\d\d GB after 0 s.*", line) for line in said), said
    said.clear()
    store(source18, said).take("b")
    assert all(" of " not in line for line in said), "nobody knows how much changed"
    assert growing.progress(10**9, 4 * 10**9, 20) == "1.00 of 4.00 GB after 20 s, about 60 s left"
    assert growing.progress(10**9, 0, 20) == "1.00 GB after 20 s"


@pytest.mark.parametrize("major", [16, 18])
def test_a_server_that_keeps_no_summaries_is_copied_whole_and_the_reason_said(shared: Shared, major: int):
    source, said = shared.of(major), list[str]()
    backups = store(source, said)
    backups.take("a")
    backups.take("b")
    assert chains(backups) == {"a": (), "b": ()}
    why = {16: "PostgreSQL 16 takes no incremental ones", 18: "summarize_wal is off"}[major]
    assert sum(why in line for line in said) == 2
    assert "s at the rate of the last one: " in said[-1], "the second one has a forecast"


def test_a_gap_in_the_summaries_is_the_servers_refusal_and_a_full_one_is_taken(source18: Production):
    said: list[str] = []
    backups = store(source18, said)
    backups.take("a")
    source18.run("ALTER SYSTEM SET summarize_wal = off", "SELECT pg_reload_conf()")
    try:
        for _ in range(2):
            change(source18, 3)
            source18.run("SELECT pg_switch_wal()", "CHECKPOINT")
        time.sleep(0.5)
    finally:
        source18.run("ALTER SYSTEM SET summarize_wal = on", "SELECT pg_reload_conf()")
    taken = backups.take("b")
    assert taken.needs == (), said
    assert "the server refuses an incremental one (could not initiate base backup: ERROR:" in said[-1]
    assert "WAL summaries are required on timeline 1" in said[-1]
    assert base_backup.read(source18.base / "store" / "b").why_full in said[-1]


def test_a_damaged_manifest_is_not_built_upon(source18: Production):
    said: list[str] = []
    backups = store(source18, said)
    backups.take("a")
    manifest = source18.base / "store" / "a" / "data" / "backup_manifest"
    manifest.write_text(manifest.read_text().replace("PG_VERSION", "PG_VERSIOM"))
    assert backups.take("b").needs == ()
    assert "the checksum of backup_manifest itself does not hold" in said[-1]


def test_one_flipped_bit_in_the_full_backup_refuses_what_stands_on_it(source18: Production):
    backups = store(source18, [])
    backups.take("a")
    change(source18, 4)
    taken = backups.take("b")
    data = source18.base / "store" / "a" / "data"
    table = data / str(source18.ask("SELECT pg_relation_filepath('t')"))
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    with pytest.raises(Refused, match=f'checksum mismatch for file "{table.relative_to(data)}"'):
        backups.restore_new(at_its_end(source18, taken), "one")
    assert backups.unfinished() == ()


def test_a_chain_ends_at_its_length_and_its_full_one_stays_while_it_is_needed(source18: Production):
    backups = store(source18, [], incrementals=1, keep=1)
    for label in ("a", "b", "c", "d"):
        backups.take(label)
    assert chains(backups) == {"a": (), "b": ("a",), "c": (), "d": ("c",)}
    assert backups.expire() == ("b", "a")
    assert backups.expire() == (), "d is kept, and c is what it stands on"
    assert set(chains(backups)) == {"c", "d"}
    shutil.rmtree(source18.base / "store" / "c")
    assert backups.list() == (), "what cannot be restored is not offered"
    (broken,) = [check for check in backups.checks() if check.name == "broken chains"]
    assert broken.detail.startswith("d: what they are incremental on is gone")


TAKE = """
import sys
from pathlib import Path
from backout.postgres.physical import base_backup
base_backup.take(sys.argv[1], Path(sys.argv[2]), "killed", incrementals=6)
"""


def test_a_take_that_was_killed_leaves_nothing_behind_the_next_command(source18: Production):
    backups = store(source18, [])
    backups.take("a")
    room = source18.base / "store"
    with subprocess.Popen([sys.executable, "-c", TAKE, source18.server.dsn("postgres"), str(room)]) as child:
        deadline = time.monotonic() + 30
        while not (room / "killed.part" / "data").exists():
            assert time.monotonic() < deadline and child.poll() is None
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    assert (room / "killed.part").exists()
    assert backups.list()[0].id == "a" and len(backups.list()) == 1
    assert backups.tidy() == ("killed.part",)
    assert backups.take("b").needs == ("a",)
    assert sorted(path.name for path in room.iterdir()) == ["a", "b"]


# ── what the file system can do ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    """A file system that shares blocks, in a file."""
    make = shutil.which("mkfs.xfs")
    if make is None or os.geteuid() != 0:
        pytest.skip(
            "NOT TRIED: a clone that shares blocks needs root and mkfs.xfs (apt-get install xfsprogs)"
        )
    image, place = tmp_path / "xfs.image", tmp_path / "xfs"
    with image.open("wb") as file:
        file.truncate(400 << 20)
    place.mkdir()
    subprocess.run([make, "-q", str(image)], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(place)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"NOT TRIED: a clone that shares blocks: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_file_system_that_shares_blocks_is_found_out_by_trying(xfs: Path, tmp_path: Path):
    source = xfs / "data"
    source.mkdir()
    (source / "PG_VERSION").write_text("18\n")
    (source / "1").write_bytes(os.urandom(64 << 20))
    said: list[str] = []
    before = shutil.disk_usage(xfs).free
    assert clone(source, xfs / "copy", said.append) == "reflink"
    assert before - shutil.disk_usage(xfs).free < 8 << 20, "the copy of 64 MB takes next to nothing"
    assert (xfs / "copy" / "1").read_bytes() == (source / "1").read_bytes()
    assert clone(source, tmp_path / "copy", said.append) == "copy", "not across file systems"
    assert ["reflink" in line for line in said] == [True, False]


def test_a_twin_on_a_file_system_that_shares_blocks_needs_the_disk_once(xfs: Path):
    assert shares_blocks_within(xfs / "not" / "there" / "yet")


def test_a_file_system_that_shares_no_blocks_is_said_and_leaves_nothing(tmp_path: Path):
    source, said = tmp_path / "data", list[str]()
    source.mkdir()
    (source / "PG_VERSION").write_text("18\n")
    (tmp_path / "goal").mkdir()
    if shares_blocks(source / "PG_VERSION", tmp_path / "goal"):
        pytest.skip("NOT TRIED: this file system shares blocks")
    assert not shares_blocks_within(tmp_path)
    assert clone(source, tmp_path / "goal" / "copy", said.append) == "copy"
    assert said == ["copying the data directory byte by byte: the file system shares no blocks here"]
    assert [path.name for path in (tmp_path / "goal").iterdir()] == ["copy"]
