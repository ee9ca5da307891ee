"""Reading a real slot: what a change tells in each case, when reading is refused, what is confirmed."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from backout.errors import NeighbourUnreachable, Refused, UnknownName
from backout.model.changes import (
    UNCHANGED,
    ChangeKind,
    OldImage,
    RowChange,
    Transaction,
    Truncation,
)
from backout.postgres.connect import open_session
from backout.postgres.decoding.slot import (
    PublicationState,
    SlotState,
    arming_snapshot,
    judge_publications,
    judge_slot,
)
from backout.postgres.decoding.stream import Source, Stream
from backout.postgres.decoding.transactions import Assembler, End, Idle, read
from tests.decoding.world import World

pytestmark = pytest.mark.slow

# --- what a change tells


def test_an_update_tells_the_old_key_only_when_it_changed(world: World):
    world.on_source("CREATE TABLE t (id int PRIMARY KEY, v text)")
    start = world.arm("t")
    world.on_source(
        "INSERT INTO t VALUES (1, NULL)",
        "UPDATE t SET v = 'é' WHERE id = 1",
        "UPDATE t SET id = 2",
        "DELETE FROM t",
    )
    told = [(c.kind, c.old_image, c.old_values(), c.new_values()) for c in world.row_changes(start)]
    assert told == [
        (ChangeKind.INSERT, OldImage.NONE, {}, {"id": "1", "v": None}),
        (ChangeKind.UPDATE, OldImage.NONE, {}, {"id": "1", "v": "é"}),
        (ChangeKind.UPDATE, OldImage.KEY, {"id": "1"}, {"id": "2", "v": "é"}),
        (ChangeKind.DELETE, OldImage.KEY, {"id": "2"}, {}),
    ]


LONG = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 400) n)"


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_a_toasted_value_that_did_not_change_is_never_null(world: World, identity: str):
    world.on_source(
        "CREATE TABLE t (id int PRIMARY KEY, body text, v int)",
        "ALTER TABLE t ALTER body SET STORAGE EXTERNAL",
        f"ALTER TABLE t REPLICA IDENTITY {identity}",
    )
    start = world.arm("t")
    world.on_source(f"INSERT INTO t VALUES (1, {LONG}, 0)", "UPDATE t SET v = 1", "UPDATE t SET id = 2")
    inserted, updated, moved = world.row_changes(start)
    body = inserted.new_values()["body"]
    assert body is not None and len(body) == 12_800
    for change in (updated, moved):
        assert change.new[1] is UNCHANGED
        told = change.new_values()
        assert ("body" in told) is (identity == "FULL")
        assert told.get("body", body) == body


def test_full_identity_tells_every_old_value(world: World):
    world.on_source("CREATE TABLE t (a int, b text)", "ALTER TABLE t REPLICA IDENTITY FULL")
    start = world.arm("t")
    world.on_source("INSERT INTO t VALUES (1, NULL)", "UPDATE t SET b = 'x'", "DELETE FROM t")
    _, updated, deleted = world.row_changes(start)
    assert updated.old_image is deleted.old_image is OldImage.FULL
    assert updated.old_values() == {"a": "1", "b": None}
    assert deleted.old_values() == {"a": "1", "b": "x"}
    assert updated.relation.key == ()


def test_generated_columns_are_not_in_the_stream(world: World):
    world.on_source("CREATE TABLE t (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED)")
    start = world.arm("t")
    world.on_source("INSERT INTO t VALUES (1)")
    (change,) = world.row_changes(start)
    assert change.new_values() == {"id": "1"}


def test_a_truncation_names_all_its_tables_and_flags(world: World):
    world.on_source("CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (id int REFERENCES a)")
    start = world.arm("a", "b")
    world.on_source("TRUNCATE a RESTART IDENTITY CASCADE")
    (change,) = world.changes(start)
    assert isinstance(change, Truncation)
    assert sorted(relation.name for relation in change.relations) == ["a", "b"]
    assert change.cascade and change.restart_identity


def test_a_renamed_and_an_added_column_are_read_as_they_were(world: World):
    world.on_source("CREATE TABLE t (id int PRIMARY KEY, v text)")
    start = world.arm("t")
    world.on_source(
        "INSERT INTO t VALUES (1, 'a')",
        "ALTER TABLE t RENAME v TO w",
        "ALTER TABLE t ADD x int",
        "INSERT INTO t VALUES (2, 'b', 3)",
    )
    first, second = world.row_changes(start)
    assert first.new_values() == {"id": "1", "v": "a"}
    assert second.new_values() == {"id": "2", "w": "b", "x": "3"}


def test_partitions_come_under_their_root_and_only_the_row_says_what_it_tells(world: World):
    """Trap: FULL on the root leaves its partitions DEFAULT. The row comes as a full one, with NULL for v."""
    world.on_source(
        "CREATE TABLE p (id int, at int, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
        "ALTER TABLE p REPLICA IDENTITY FULL",
    )
    start = world.arm("p")
    world.on_source(
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)",
        "INSERT INTO p VALUES (1, 1, 'a'), (2, 12, 'b')",
        "UPDATE p SET id = 3 WHERE id = 1",
        "UPDATE p SET v = 'c' WHERE id = 3",
        "UPDATE p SET at = 13 WHERE id = 3",
        "DELETE FROM p",
    )
    changes = world.row_changes(start)
    assert {change.relation.name for change in changes} == {"p"}
    assert changes[2].relation.key == ()
    assert (changes[2].old_image, changes[2].old_values()) == (OldImage.KEY, {"id": "1", "at": "1"})
    assert changes[3].old_image is OldImage.NONE
    kinds = [change.kind for change in changes[4:6]]
    assert kinds == [ChangeKind.DELETE, ChangeKind.INSERT]  # a row that moves to another partition


def test_text_forms_are_pinned_whatever_the_database_says(world: World):
    world.on_source(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, d date, f float8, b bytea, i interval)",
        f"ALTER DATABASE {world.source_database} SET datestyle = 'German, DMY'",
        f"ALTER DATABASE {world.source_database} SET timezone = 'Asia/Kolkata'",
        f"ALTER DATABASE {world.source_database} SET extra_float_digits = -5",
        f"ALTER DATABASE {world.source_database} SET bytea_output = 'escape'",
        f"ALTER DATABASE {world.source_database} SET intervalstyle = 'iso_8601'",
    )
    start = world.arm("t")
    world.on_source(
        "INSERT INTO t VALUES (1, '2026-11-28 10:00+00', '2026-11-28', 0.1 + 0.2::float8,"
        r" '\x00ff', '1 day 2:0')"
    )
    (change,) = world.row_changes(start)
    assert change.new[1:] == (
        "2026-11-28 10:00:00+00",
        "2026-11-28",
        "0.30000000000000004",
        "\\x00ff",
        "1 day 02:00:00",
    )


# --- when reading is refused

STATE = SlotState("s", "pgoutput", "app", "reserved", 100, False, None)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (STATE, None),
        (replace(STATE, wal_status="extended"), None),
        (replace(STATE, wal_status="unreserved"), "no longer kept"),
        (replace(STATE, wal_status="lost"), "no longer kept"),
        (replace(STATE, wal_status=""), "no longer kept"),
        (replace(STATE, plugin="test_decoding"), "not pgoutput"),
        (replace(STATE, database="other"), "database other"),
        (replace(STATE, two_phase=True), "two_phase"),
        (replace(STATE, confirmed_flush=101), "skip silently"),
    ],
)
def test_a_slot_is_judged_by_what_it_is(state: SlotState, why: str | None):
    found = judge_slot(state, 100, "app")
    assert (found is None) if why is None else (found is not None and why in found)


def test_publications_must_be_there_and_as_old_as_the_slot():
    old, young = PublicationState("a", False), PublicationState("b", True)
    assert judge_publications(("a",), [old, young]) is None
    assert "younger" in (judge_publications(("a", "b"), [old, young]) or "")
    assert "does not exist" in (judge_publications(("a", "c"), [old]) or "")


def test_trap_1_a_slot_confirmed_beyond_the_progress_is_refused(world: World):
    """The server would forward silently: START_REPLICATION from an older position loses what lies between."""
    world.on_source("CREATE TABLE t (id int PRIMARY KEY)")
    start = world.arm("t")
    world.on_source("INSERT INTO t VALUES (1)")
    world.on_source(f"SELECT pg_replication_slot_advance('{world.slot}', pg_current_wal_lsn())")
    with pytest.raises(Refused, match="skip silently"):
        world.open(start)


def test_trap_5_a_publication_younger_than_the_slot_is_refused(world: World):
    world.on_source("CREATE TABLE t (id int PRIMARY KEY)")
    start = world.make_slot()
    world.on_source("INSERT INTO t VALUES (1)")
    world.publish("t")
    with pytest.raises(Refused, match="younger than the slot"):
        world.open(start)


def test_trap_5_a_table_that_entered_the_publication_later_is_refused(world: World):
    world.on_source("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)")
    start = world.arm("t")
    world.on_source("INSERT INTO u VALUES (1)", "ALTER PUBLICATION backout_r ADD TABLE u")
    with pytest.raises(Refused, match="younger than the slot"):
        world.open(start)


def test_trap_5_the_stream_itself_tells_when_the_look_before_was_deceived(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """16 fails at decoding; 18 leaves the change out and says so in a warning that nobody reads."""
    world.on_source("CREATE TABLE t (id int PRIMARY KEY)")
    start = world.make_slot()
    world.on_source("INSERT INTO t VALUES (1)")
    world.publish("t")
    world.on_source("INSERT INTO t VALUES (2)")
    monkeypatch.setattr("backout.postgres.decoding.stream.require_readable", lambda *_: None)
    with (
        pytest.raises(Refused, match="backout_r"),
        world.transactions(start) as found,
    ):
        assert list(found) == []


def test_the_snapshot_of_arming_decides_where_a_long_writer_blurs_the_horizon(world: World):
    """A writer older than the publication keeps the slot's horizon back: only the snapshot knows better."""
    world.on_source("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)")
    with psycopg.connect(world.source_dsn) as writer:
        writer.execute("INSERT INTO u VALUES (1)")
        world.publish("t")
        with open_session(world.source_dsn, "backout/inc-1/1") as session:
            armed = arming_snapshot(session)
        writer.commit()
    start = world.make_slot()
    world.open(start, armed=armed).close()
    world.on_source("ALTER PUBLICATION backout_r ADD TABLE u")
    with pytest.raises(Refused, match="younger than the slot"):
        world.open(start, armed=armed)


def test_a_slot_whose_log_is_gone_is_refused(world: World):
    world.on_source("CREATE TABLE t (id int PRIMARY KEY, v text)")
    start = world.arm("t")
    world.on_source("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "SELECT pg_reload_conf()")
    try:
        for _ in range(4):
            world.on_source(
                "INSERT INTO t SELECT (SELECT count(*) FROM t) + n, n FROM generate_series(1, 10) n",
                "SELECT pg_switch_wal()",
            )
        world.on_source("CHECKPOINT")
        with pytest.raises(Refused, match=r"no longer kept \(wal_status (lost|unreserved)\)"):
            world.open(start)
    finally:
        world.on_source("ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")


def test_a_missing_slot_and_one_in_use_are_told_apart(world: World):
    world.on_source("CREATE TABLE t (id int PRIMARY KEY)")
    start = world.arm("t")
    source = Source(world.source_dsn, "nosuch", ("backout_r",), start, "backout/inc-1/1")
    with pytest.raises(UnknownName, match="nosuch"):
        Stream(source)
    with world.open(start), pytest.raises(NeighbourUnreachable, match="is active for PID"):
        world.open(start)


# --- what is confirmed, and when


def test_nothing_is_confirmed_but_what_was_declared_durable(world: World):
    world.on_source("CREATE TABLE t (id int PRIMARY KEY)")
    start = world.arm("t")
    for n in range(5):
        world.on_source(f"INSERT INTO t VALUES ({n})")
    with world.open(start) as stream:
        events = read(stream.frames(), Assembler(start, world.directory), End())
        found = [next(e for e in events if isinstance(e, Transaction)) for _ in range(5)]
        last = found[-1].end_lsn
        stream._report()
        idle = next(event for event in events if isinstance(event, Idle) and event.lsn >= last)
        time.sleep(0.2)
        assert world.confirmed() <= start < last <= idle.lsn
        stream.acknowledge(found[2].end_lsn)
        wait_until(lambda: world.confirmed() == found[2].end_lsn)
        stream.acknowledge(found[1].end_lsn)
    assert world.confirmed() == found[2].end_lsn
    with world.open(found[2].end_lsn) as stream, world.transactions_of(stream, found[2].end_lsn) as again:
        assert [one.end_lsn for one in again if one.count] == [one.end_lsn for one in found[3:]]


def wait_until(true) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def impatient(world: World, start: int) -> Source:
    """A server that ends a silent connection after one second."""
    dsn = world.source_dsn + "?options=-c%20wal_sender_timeout%3D1s"
    return Source(dsn, world.slot, ("backout_r",), start, "backout/inc-1/1")


def test_the_connection_survives_long_work_that_tends_it(world: World):
    world.on_source("CREATE TABLE t (id int PRIMARY KEY)")
    start = world.arm("t")
    world.on_source("INSERT INTO t SELECT generate_series(1, 100000)")
    end = End(lsn=world.mark_end())
    with Stream(impatient(world, start)) as stream:
        for event in read(stream.frames(), Assembler(start, world.directory, 1 << 20), end):
            if isinstance(event, Transaction) and event.count:
                for _ in range(25):  # 2.5 s: as if the target were slow
                    time.sleep(0.1)
                    stream.tend()
                assert sum(1 for _ in event.changes) == 100_000
                event.changes.close()


def test_an_idle_connection_survives(world: World):
    world.on_source("CREATE TABLE t (id int PRIMARY KEY)")
    start = world.arm("t")
    begun = time.monotonic()
    with Stream(impatient(world, start)) as stream:
        for event in read(stream.frames(), Assembler(start, world.directory), End()):
            assert isinstance(event, Idle)
            if time.monotonic() - begun > 2.5:
                break


def test_a_server_that_no_longer_answers_is_noticed(world: World):
    """A network that drops packets ends no connection."""
    world.on_source("CREATE TABLE t (id int PRIMARY KEY)")
    start = world.arm("t")
    with Stream(impatient(world, start)) as stream:
        ((pid,),) = world.rows(
            f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{world.slot}'"
        )
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(NeighbourUnreachable, match="no answer for"):
                for _ in stream.frames():
                    pass
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_connection_that_is_cut_is_told_in_words_and_goes_on_from_the_progress(world: World):
    world.on_source("CREATE TABLE t (id int PRIMARY KEY)")
    start = world.arm("t")
    with world.open(start) as stream:
        world.on_source(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL"
        )
        with pytest.raises(NeighbourUnreachable, match="broke off") as told:
            for _ in stream.frames():
                pass
    assert "backout resume" in told.value.next
    assert "password" not in str(told.value)
    world.on_source("INSERT INTO t VALUES (1)")
    wait_until(lambda: world.rows("SELECT 1 FROM pg_replication_slots WHERE active_pid IS NOT NULL") == [])
    assert len(world.changes(start)) == 1


def test_300_000_rows_in_one_transaction_cost_no_more_memory_than_the_budget(world: World):
    world.on_source("CREATE TABLE t (id int PRIMARY KEY, v text)")
    start = world.arm("t")
    world.on_source("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 300000) n")
    with world.transactions(start, budget=8 << 20) as found:
        before = peak_mib(reset=True)
        one = next(one for one in found if one.count)
        count = sum(isinstance(change, RowChange) for change in one.changes)
        grown = peak_mib() - before
        one.changes.close()
    assert count == one.count == 300_000
    assert one.size > 30 << 20
    assert grown < 30, f"{grown} MiB more"
    assert list(world.directory.iterdir()) == []


def peak_mib(*, reset: bool = False) -> float:
    """Largest resident memory of this process since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    told = Path("/proc/self/status").read_text()
    return int(told.split("VmHWM:")[1].split()[0]) / 1024
