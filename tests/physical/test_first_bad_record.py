"""The bad migration is found in the WAL from its history row, also through savepoints and beside others."""

from __future__ import annotations

import time

import pytest

from backout.model.recovery import BadMigration, NotInWal, for_replay, twin_after, twin_before
from backout.postgres.connect import open_session
from backout.postgres.physical.first_bad import find_first_bad, read_commit_time
from backout.postgres.physical.wal import WalDirectories
from backout.postgres.physical.waldump import commit_of, next_xid, older, parse
from tests.physical.world import DATABASE, Production, production, value

pytestmark = pytest.mark.slow  # a server is restored or read for real

HISTORY = "CREATE TABLE history (id int, run_on timestamptz DEFAULT now())"


def find(source: Production, *xids: int) -> BadMigration | NotInWal:
    wal = WalDirectories((source.archive, source.server.layout.data / "pg_wal"))
    return find_first_bad(wal, source.server.layout.binaries, source.line(), xids, until=source.position())


def found(source: Production, *xids: int) -> BadMigration:
    migration = find(source, *xids)
    assert isinstance(migration, BadMigration), migration
    return migration


def row_xid(source: Production, which: int) -> int:
    return int(str(source.ask(f"SELECT xmin FROM history WHERE id = {which}")))


def test_a_row_written_in_a_savepoint_leads_to_the_whole_transaction(source: Production):
    source.run(HISTORY, "CREATE TABLE t (id int)", "CHECKPOINT")
    begin = source.position()
    with source.connect() as tool:
        tool.execute("BEGIN; SAVEPOINT one; INSERT INTO t VALUES (1)")
        top = int(str(value(tool, "SELECT pg_current_xact_id()::xid")))
        tool.execute("RELEASE one; SAVEPOINT two; INSERT INTO history VALUES (1); RELEASE two")
        inserted = source.position()
        tool.execute("COMMIT")
    after = source.position()
    source.run("INSERT INTO t VALUES (2)")
    written = row_xid(source, 1)
    assert written != top
    (transaction,) = found(source, written).transactions
    assert transaction.xid == top
    assert written in transaction.subtransactions
    assert begin <= transaction.first_record < inserted <= transaction.commit < after


def test_another_transaction_may_begin_before_and_commit_during_the_migration(source: Production):
    source.run(HISTORY, "CREATE TABLE t (id int)")
    with source.connect() as other, source.connect() as tool:
        other.execute("BEGIN; INSERT INTO t VALUES (1)")
        other_began = source.position()
        tool.execute("BEGIN; INSERT INTO history VALUES (1)")
        other.execute("COMMIT")
        other_committed = source.position()
        tool.execute("DELETE FROM t; COMMIT")
    migration = found(source, row_xid(source, 1))
    (transaction,) = migration.transactions
    assert migration.commits_inside == 0
    assert other_began <= migration.first_bad < other_committed <= transaction.commit
    assert for_replay(migration, source.line()).at.lsn == migration.first_bad
    assert twin_before(migration).commit == twin_after(migration).commit


def test_several_transactions_of_one_run_begin_with_the_first(source: Production):
    source.run(HISTORY, "CREATE TABLE t (id int)")
    source.run("BEGIN; INSERT INTO history VALUES (1); ALTER TABLE t ADD a int; COMMIT")
    source.run("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)")
    source.run("BEGIN; ALTER TABLE t ADD b int; COMMIT")  # no history row in it: a tool that commits apart
    source.run("INSERT INTO history VALUES (2)")
    migration = found(source, row_xid(source, 2), row_xid(source, 1))
    first, last = migration.transactions
    assert migration.first_bad == first.first_record < first.commit < last.first_record
    assert migration.commits_inside == 3
    assert any(first.commit < one.commit < last.commit for one in migration.suspects)
    assert twin_before(migration).commit.xid == first.xid
    assert twin_after(migration).commit.xid == last.xid


def test_a_prepared_transaction_is_found_by_the_record_that_commits_it():
    with production(16, {"max_prepared_transactions": "5"}) as source:
        source.run(HISTORY, "BEGIN; INSERT INTO history VALUES (1); PREPARE TRANSACTION 'it'")
        source.run("COMMIT PREPARED 'it'")
        (transaction,) = found(source, row_xid(source, 1)).transactions
        assert transaction.first_record < transaction.commit


def test_a_migration_that_spans_segments_is_found_from_its_first_record(source16: Production):
    source16.run(HISTORY, "CREATE TABLE t (id int)", "CHECKPOINT")
    before = source16.position()
    with source16.connect() as tool:
        tool.execute("BEGIN; INSERT INTO t VALUES (1)")
        for _ in range(6):
            source16.run("INSERT INTO t SELECT generate_series(1, 20000)", "SELECT pg_switch_wal()")
        source16.run("CHECKPOINT")
        tool.execute("INSERT INTO history VALUES (1); COMMIT")
    source16.settle()
    migration = found(source16, row_xid(source16, 1))
    assert migration.first_bad >= before
    assert migration.transactions[0].commit.position - migration.first_bad.position > 5 * (16 << 20)
    archived = WalDirectories((source16.archive,))
    binaries = source16.server.layout.binaries
    assert find_first_bad(archived, binaries, source16.line(), [row_xid(source16, 1)]) == migration


def test_the_newest_wal_is_read_without_waiting_for_a_segment_to_come(source16: Production):
    """pg_waldump tries to open the next segment for 5 s when it is not told where to end."""
    source16.run(HISTORY, "INSERT INTO history VALUES (1)")
    source16.settle()
    begun = time.monotonic()
    archived = WalDirectories((source16.archive,))
    binaries = source16.server.layout.binaries
    migration = find_first_bad(archived, binaries, source16.line(), [row_xid(source16, 1)])
    assert isinstance(migration, BadMigration)
    assert time.monotonic() - begun < 4


def test_wal_that_begins_too_late_says_so_and_what_remains(alone16: Production):
    alone16.run(HISTORY, "CREATE TABLE t (id int)")
    with alone16.connect() as tool:
        tool.execute("BEGIN; INSERT INTO t VALUES (1)")
        alone16.run("SELECT pg_switch_wal()", "CHECKPOINT")
        tool.execute("INSERT INTO history VALUES (1); COMMIT")
    last = alone16.settle()
    xid = row_xid(alone16, 1)
    for path in alone16.archive.iterdir():
        if path.name < last:
            path.unlink()
    archived = WalDirectories((alone16.archive,))
    lost = find_first_bad(archived, alone16.server.layout.binaries, alone16.line(), [xid], committed_at="x")
    assert isinstance(lost, NotInWal)
    assert f"transaction {xid} had already begun" in lost.reason
    assert lost.committed_at == "x"
    assert any("down" in way for way in lost.remains)


def test_wal_that_cannot_be_read_is_a_reason_and_no_crash(source16: Production):
    nowhere = WalDirectories((source16.base / "nowhere",))
    lost = find_first_bad(nowhere, source16.server.layout.binaries, source16.line(), [700])
    assert isinstance(lost, NotInWal)
    assert lost.reason == "no WAL segment of timeline 1 can be read"


def test_a_damaged_segment_is_not_read_over(alone16: Production):
    alone16.run(HISTORY, "INSERT INTO history VALUES (1)", "CREATE TABLE t (id int)")
    first = alone16.settle()
    for _ in range(4):
        alone16.run("INSERT INTO t VALUES (1)")
        alone16.settle()
    with (alone16.archive / first).open("r+b") as segment:
        segment.seek(8192 * 3)
        segment.write(b"\0" * 8192 * 40)
    archived = WalDirectories((alone16.archive,))
    lost = find_first_bad(archived, alone16.server.layout.binaries, alone16.line(), [1])
    assert isinstance(lost, NotInWal)
    assert "the WAL cannot be read behind" in lost.reason


def test_commit_timestamps_are_read_where_they_are_kept():
    with production(16, {"track_commit_timestamp": "on"}) as source:
        source.run(HISTORY)
        with source.connect() as tool:
            tool.execute("BEGIN; INSERT INTO history VALUES (1); SELECT pg_sleep(0.3); COMMIT")
        xid = row_xid(source, 1)
        with open_session(source.server.dsn(DATABASE), "backout/test/0") as session:
            at = read_commit_time(session, xid)
        assert at == found(source, xid).transactions[0].committed_at
        started = str(
            source.ask(
                "SELECT to_char(run_on AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM history"
            )
        )
        assert at > started, "run_on is when the transaction began, not when it was there for others"


def test_without_commit_timestamps_there_is_no_time(source16: Production):
    source16.run(HISTORY, "INSERT INTO history VALUES (1)")
    with open_session(source16.server.dsn(DATABASE), "backout/test/0") as session:
        assert read_commit_time(session, row_xid(source16, 1)) == ""


def line(rmgr: str, xid: int, lsn: str, text: str) -> str:
    head = f"rmgr: {rmgr:<11} len (rec/tot):     54/   150, tx: {xid:>10}, lsn: {lsn}, prev 0/01504FB8"
    return f"{head}, desc: {text}"


AT = "2026-11-28 08:47:09.553506 UTC"
LINES = (
    "first record is after 0/1000000, at 0/1000028, skipping over 40 bytes",
    line("Heap", 743, "0/0156A9B8", "INSERT off 1, blkref #0: rel 1663/5/16384 blk 0"),
    line("Transaction", 727, "0/01504FE8", "ASSIGNMENT xtop 726: subxacts: 727"),
    line(
        "Transaction",
        726,
        "1A/F2550",
        f"COMMIT {AT}; rels: base/5/16384; subxacts: 755 756; inval msgs: catcache 7",
    ),
    line("Transaction", 757, "0/016F2660", f"PREPARE gid COMMIT 1: {AT}"),
    line("Transaction", 0, "0/016F2758", f"COMMIT_PREPARED 757: {AT}"),
    line("Transaction", 758, "0/016F2790", f"ABORT {AT}; subxacts: 755"),
    line("Standby", 0, "0/016F27B0", "RUNNING_XACTS nextXid 758 latestCompletedXid 757 oldestRunningXid 758"),
    line("XLOG", 0, "0/01505678", "CHECKPOINT_ONLINE redo 0/1505640; tli 1; xid 0:730; oid 24576; online"),
)


def test_the_parser_reads_every_kind_of_commit():
    records = list(parse(LINES))
    assert len(records) == len(LINES) - 1
    commits = [commit for record in records if (commit := commit_of(record)) is not None]
    assert [(one.xid, str(one.lsn), one.subtransactions) for one in commits] == [
        (726, "1A/F2550", (755, 756)),
        (757, "0/16F2758", ()),
    ]
    assert commits[0].at == "2026-11-28T08:47:09.553506Z"
    assert [next_xid(record) for record in records if next_xid(record) is not None] == [758]


def test_transaction_ids_are_compared_across_the_wrap_around():
    assert older(5, 6)
    assert not older(6, 6)
    assert older(2**32 - 5, 3)
    assert not older(3, 2**32 - 5)
