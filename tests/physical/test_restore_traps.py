"""The traps of restoring, each by its name: refused with the exact reason, or harmless."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import psycopg
import pytest

from backout.errors import Refused, Stopped
from backout.model.recovery import (
    BadMigration,
    Commit,
    FirstRecord,
    ForReplay,
    Line,
    Lsn,
    NamedPoint,
    TwinBefore,
    twin_before,
)
from backout.postgres.connect import open_session
from backout.postgres.physical.archiving import settle_archive
from backout.postgres.physical.first_bad import find_first_bad
from backout.postgres.physical.recovery import target_settings
from backout.postgres.physical.verify import verify_backup
from backout.postgres.physical.wal import WalDirectories, segment_of
from backout.testing.servers import RealServer
from tests.physical.world import DATABASE, Production, production

pytestmark = pytest.mark.slow  # a server is restored or read for real


def recorded(source: Production) -> list[object]:
    """Leftovers: servers that are still recorded."""
    return list((source.base / "instances").glob("*/server.json"))


def damaged(source: Production) -> NamedPoint:
    """A backup, six rows over two archived segments, a restore point, then the damage."""
    source.run("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1), (2)")
    source.backups.take("old")
    source.run("INSERT INTO t VALUES (3), (4)", "SELECT pg_switch_wal()", "INSERT INTO t VALUES (5), (6)")
    point = source.point("before_it")
    source.run("DELETE FROM t")
    source.settle()
    return point


def test_a_name_target_with_a_newer_backup_takes_the_older_one(source16: Production):
    point = damaged(source16)
    source16.backups.take("newer")
    source16.settle()
    instance = source16.backups.restore_new(ForReplay(source16.line(), point), "one")
    assert instance.backup == "old"
    assert source16.rows(instance, "SELECT count(*) FROM t") == [(6,)]


def test_a_backup_that_is_newer_than_the_target_is_refused_before_anything_is_copied(source16: Production):
    point = source16.point("before_it")
    newer = source16.backups.take("newer")
    with pytest.raises(Refused) as refusal:
        source16.backups.restore_new(ForReplay(source16.line(), point), "one")
    assert f"newer, is whole from {newer.stop} on" in refusal.value.what
    assert f"the target lies at {point.lsn}" in refusal.value.what
    assert recorded(source16) == []


def test_a_missing_segment_is_named_before_anything_is_copied(alone16: Production):
    point = damaged(alone16)
    there = sorted(WalDirectories((alone16.archive,)).names())
    gone = segment_of(1, point.lsn)
    (alone16.archive / gone).unlink()
    with pytest.raises(Refused) as refusal:
        alone16.backups.restore_new(ForReplay(alone16.line(), point), "one")
    last = there[there.index(gone) - 1]
    assert refusal.value.what == (f"WAL segment {gone} is missing: recoverable only to the end of {last}")
    assert recorded(alone16) == []


def test_wal_that_was_not_archived_yet_is_named(alone16: Production):
    alone16.run("CREATE TABLE t (id int)")
    alone16.backups.take("old")
    alone16.settle()
    alone16.run("INSERT INTO t VALUES (1)")
    point = alone16.point("not_archived")
    with pytest.raises(Refused, match=f"WAL segment {segment_of(1, point.lsn)} is missing"):
        alone16.backups.restore_new(ForReplay(alone16.line(), point), "one")


def test_there_is_no_restore_without_a_target():
    """Without one, a gap in the WAL opens as a shorter past: measured, 2 of 6 rows and exit code 0."""
    line = Line("1", 1)
    for target in (
        ForReplay(line, NamedPoint("x", Lsn(1))),
        ForReplay(line, FirstRecord(Lsn(1))),
        TwinBefore(line, Commit(1, Lsn(1))),
    ):
        assert any(name.startswith("recovery_target_") for name in target_settings(target))


def blank(segment: Path) -> None:
    """Only the header of the segment is left, as after a copy that was cut off and filled up with zeros."""
    content = segment.read_bytes()
    segment.write_bytes(content[:40] + bytes(len(content) - 40))


def test_a_truncated_segment_ends_in_a_refusal_with_the_servers_own_reason(alone16: Production):
    point = damaged(alone16)
    segment = alone16.archive / segment_of(1, point.lsn)
    blank(segment)
    with pytest.raises(Refused, match="recovery ended before configured recovery target was reached"):
        alone16.backups.restore_new(ForReplay(alone16.line(), point), "one")
    assert recorded(alone16) == []


def test_two_restore_points_of_one_name_are_not_taken_for_one_another(source16: Production):
    source16.run("CREATE TABLE t (id int)")
    source16.backups.take("old")
    first = source16.point("again")
    source16.run("INSERT INTO t VALUES (1)")
    second = source16.point("again")
    source16.settle()
    with pytest.raises(Refused, match=f"the server stopped at {first.lsn}"):
        source16.backups.restore_new(ForReplay(source16.line(), second), "one")


def test_run_on_is_not_a_target(source16: Production):
    """What was acknowledged after the migration began and before it committed is lost by its time stamp,
    and kept by its commit."""
    source16.run("CREATE TABLE history (id int, run_on timestamptz DEFAULT now())", "CREATE TABLE t (id int)")
    source16.backups.take("old")
    with source16.connect() as tool:
        tool.execute("BEGIN; INSERT INTO history VALUES (1)")
        source16.run("INSERT INTO t VALUES (1)")
        tool.execute("COMMIT")
    source16.settle()
    xid = int(str(source16.ask("SELECT xmin FROM history")))
    wal = WalDirectories((source16.archive,))
    migration = find_first_bad(wal, source16.server.layout.binaries, source16.line(), [xid])
    assert isinstance(migration, BadMigration)
    instance = source16.backups.restore_new(twin_before(migration), "one")
    assert source16.rows(instance, "SELECT count(*) FROM t") == [(1,)]
    assert source16.rows(instance, "SELECT count(*) FROM history") == [(0,)]


def test_a_bit_flipped_backup_is_refused(source: Production):
    point = damaged(source)
    data = source.base / "store" / "old" / "data"
    table = max((data / "base").glob("*/*"), key=lambda path: path.stat().st_size)
    with table.open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(Refused, match=f'checksum mismatch for file "{table.relative_to(data)}"'):
        source.backups.restore_new(ForReplay(source.line(), point), "one")
    assert recorded(source) == []


@pytest.mark.parametrize("fault", ["missing", "longer", "foreign", "manifest"])
def test_our_own_reading_of_the_manifest_sees_what_the_program_would(source16: Production, fault: str):
    source16.backups.take("old")
    data = source16.base / "store" / "old" / "data"
    version = data / "PG_VERSION"
    if fault == "missing":
        (data / "global" / "1262").unlink()
    elif fault == "longer":
        version.write_text(version.read_text() + "\n")
    elif fault == "foreign":
        (data / "base" / "1" / "99999").write_text("x")
    else:
        manifest = data / "backup_manifest"
        manifest.write_text(manifest.read_text().replace("PG_VERSION", "PG_VERSIOM"))
    binaries = source16.server.layout.binaries
    with pytest.raises(Refused, match="differs from its manifest"):
        verify_backup(binaries, data)
    nowhere = type(binaries)(source16.base / "bin", 16, "16", "wheel")
    with pytest.raises(Refused, match="differs from its manifest"):
        verify_backup(nowhere, data)


def test_an_archiver_that_fails_is_noticed():
    with production(16, {"archive_command": "false"}) as source:
        source.run("CREATE TABLE t (id int)")
        with (
            open_session(source.server.dsn(DATABASE), "backout/test/0") as session,
            pytest.raises(Stopped, match=r"has not archived 0000.*: it failed \d+ times"),
        ):
            settle_archive(session, source.position(), 3)


# ── isolation ───────────────────────────────────────────────────────────────────────────────────────────


def subscribe(upstream: RealServer, source: Production) -> None:
    with upstream.connect() as connection:
        connection.execute("CREATE TABLE feed (id int PRIMARY KEY)")
        connection.execute("INSERT INTO feed SELECT generate_series(1, 4)")
        connection.execute("CREATE PUBLICATION feed FOR TABLE feed")
    source.run(
        "CREATE TABLE feed (id int PRIMARY KEY)",
        f"CREATE SUBSCRIPTION feed CONNECTION '{upstream.dsn(DATABASE)}' PUBLICATION feed",
    )


def wait_for(source: Production, query: str, expected: object) -> None:
    deadline = time.monotonic() + 60
    while source.ask(query) != expected:
        assert time.monotonic() < deadline, query
        time.sleep(0.2)


def test_a_copy_with_a_subscription_and_an_archive_touches_nothing_outside():
    with (
        production(16, {"wal_level": "logical"}) as upstream,
        production(16, {"wal_level": "logical", "max_logical_replication_workers": "4"}) as source,
    ):
        subscribe(upstream.server, source)
        wait_for(source, "SELECT count(*) FROM feed", 4)
        source.run("SELECT pg_create_logical_replication_slot('own', 'pgoutput')")
        source.backups.take("old")
        point = source.point("before_it")
        source.settle()
        archived = WalDirectories((source.archive,)).names()
        instance = source.backups.restore_new(ForReplay(source.line(), point), "one")
        assert source.rows(instance, "SELECT subname, subenabled FROM pg_subscription") == [("feed", True)]
        assert source.rows(instance, "SELECT count(*) FROM pg_replication_slots") == [(0,)]
        with psycopg.connect(source.backups.conninfo(instance, DATABASE), autocommit=True) as copy:
            copy.execute("CREATE TABLE junk AS SELECT generate_series(1, 100000)")
            copy.execute("SELECT pg_switch_wal()")
            copy.execute("CHECKPOINT")
        # The upstream drops its connection: whoever connects first now would take the slot over.
        upstream.run("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
        upstream.run("INSERT INTO feed SELECT generate_series(5, 12)")
        wait_for(source, "SELECT count(*) FROM feed", 12)
        assert source.rows(instance, "SELECT count(*) FROM feed") == [(4,)]
        new = WalDirectories((source.archive,)).names() - archived
        assert all(name.startswith("00000001") for name in new), "the copy is on timeline 2"
        assert source.ask("SELECT failed_count FROM pg_stat_archiver") == 0
        source.run("ALTER SUBSCRIPTION feed DISABLE")


def test_a_configuration_that_names_the_original_is_not_carried_over(source16: Production):
    """The data directory, hba and preload lines of a configuration would lead a copy to production."""
    source16.run("CREATE TABLE t (id int)")
    source16.backups.take("old")
    point = source16.point("before_it")
    source16.settle()
    data = source16.base / "store" / "old" / "data"
    lines = f"data_directory = '{source16.server.layout.data}'\nssl = on\nlisten_addresses = '*'\n"
    lines += "shared_preload_libraries = 'pg_cron'\narchive_mode = on\n"
    (data / "postgresql.auto.conf").write_text(lines)  # no part of the manifest
    instance = source16.backups.restore_new(ForReplay(source16.line(), point), "one")
    rows = source16.rows(instance, "SELECT name, setting FROM pg_settings")
    shown = {str(name): value for name, value in rows}
    assert shown["data_directory"] == instance.data_directory
    expected = {
        "archive_mode": "off",
        "listen_addresses": "",
        "shared_preload_libraries": "",
        "max_logical_replication_workers": "0",
        "primary_conninfo": "",
        "ssl": "off",
        "fsync": "on",
        "cluster_name": "backout-one",
    }
    assert {name: shown[name] for name in expected} == expected


def test_a_log_of_the_source_in_its_data_directory_is_no_evidence(alone16: Production):
    point = damaged(alone16)
    log = alone16.server.layout.data / "server.log"
    with log.open("a") as file:
        file.write('LOG:  recovery stopping at restore point "before_it", time 2026-11-28\n')
    alone16.backups.take("newest")
    segment = alone16.archive / segment_of(1, point.lsn)
    blank(segment)
    with pytest.raises(Refused, match="recovery ended before"):
        alone16.backups.restore_new(ForReplay(alone16.line(), point), "one")


def test_a_source_with_a_tablespace_is_refused_before_a_copy_points_into_it(alone16: Production):
    place = alone16.base / "space"
    place.mkdir(mode=0o700)
    shutil.chown(place, alone16.server.layout.data.owner())
    alone16.run(f"CREATE TABLESPACE far LOCATION '{place}'")
    with pytest.raises(Refused, match=r"the source has tablespaces \(far\)"):
        alone16.backups.take("old")
    assert not list((alone16.base / "store").glob("*"))
