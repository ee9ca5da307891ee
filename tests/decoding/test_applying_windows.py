"""Windows of changes on a real target: in order, exactly once, refused rows parked and no others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from backout.errors import NeighbourUnreachable, Refused, Stopped, UnknownName
from backout.model.changes import RowChange, Transaction, lsn_text
from backout.postgres import parked, servers
from backout.postgres.connect import open_session
from backout.postgres.decoding.transactions import DeadlinePassed, End
from backout.postgres.writes import tables
from backout.postgres.writes.apply import Applier, open_target
from backout.postgres.writes.follow import Limits, follow
from backout.postgres.writes.parking import Parking
from backout.postgres.writes.same_schema import SameSchema
from backout.postgres.writes.statements import Write, or_insert, update_query
from backout.postgres.writes.unchecked import Doubled, doubled_keys
from tests.decoding.world import RUN, TARGET, World


def carried(world: World, *made: str, published: str = "t") -> World:
    """The same tables on both sides, a slot, and a run that begins at it."""
    world.on_both(*made)
    world.prepare_target(world.arm(published))
    return world


LONG = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 400) n)"


def test_inserts_updates_and_deletes_arrive(world: World):
    carried(world, "CREATE TABLE t (id int PRIMARY KEY, v text)")
    world.on_source(
        "INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 3000) n",
        "UPDATE t SET v = NULL WHERE id % 3 = 0",
        "UPDATE t SET id = id + 10000 WHERE id % 5 = 0",
        "DELETE FROM t WHERE id % 7 = 0",
    )
    assert world.carry_over() == 0
    world.same("SELECT * FROM t ORDER BY id")
    world.on_source("TRUNCATE t", "INSERT INTO t VALUES (1, 'again')")
    assert world.carry_over(Limits(transactions=1)) == 0
    world.same("SELECT * FROM t ORDER BY id")


def test_every_kind_of_value_arrives_as_it_was(world: World):
    carried(
        world,
        "CREATE TYPE mood AS ENUM ('sad', 'glad')",
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
        "CREATE TYPE pair AS (a int, b text)",
        """CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, c char(5), v varchar(9),
             n numeric, f float8, b bytea, j json, jb jsonb, a text[], at timestamptz, i interval, m mood,
             p positive, pr pair, u uuid, r int4range, bx box, o oid, "Quoted ""name" text,
             g int GENERATED ALWAYS AS (id * 2) STORED)""",
    )
    world.on_source(
        """INSERT INTO t VALUES (DEFAULT, 'ab', 'x', 1.10, 0.1 + 0.2::float8, '\\x00ff', '{"b": 1, "a": 1}',
             '{"b": 1.0}', '{NULL,"a,b","\\"q\\""}', now(), '1 day 2 hours', 'glad', 3, '(1,"x y")',
             gen_random_uuid(), '[1,5)', '((0,0),(1,1))', 5, E'line\\nbreak \\\\ $1')""",
        "INSERT INTO t DEFAULT VALUES",
        """UPDATE t SET "Quoted ""name" = 'é', c = NULL, n = 'NaN' WHERE id = 1""",
    )
    assert world.carry_over() == 0
    world.same("SELECT t::text FROM t ORDER BY id")


def test_an_unchanged_toast_value_stays_as_it_is(world: World):
    carried(
        world,
        "CREATE TABLE t (id int PRIMARY KEY, body text, v int)",
        "ALTER TABLE t ALTER body SET STORAGE EXTERNAL",
    )
    world.on_source(f"INSERT INTO t VALUES (1, {LONG}, 0)", "UPDATE t SET v = 1", "UPDATE t SET id = 2")
    assert world.carry_over() == 0
    world.same("SELECT * FROM t")


def test_rows_without_a_key_are_found_one_by_one(world: World):
    carried(
        world,
        "CREATE TABLE t (a int, b text, c char(4), n numeric, j json, bx box)",
        "ALTER TABLE t REPLICA IDENTITY FULL",
    )
    world.on_source(
        "INSERT INTO t SELECT 1, 'x', 'ab', 1.0, '{}', '((0,0),(1,1))' FROM generate_series(1, 4)",
        "INSERT INTO t VALUES (1, 'x', 'ab', 1.00, '{}', '((0,0),(1,1))')",
        "INSERT INTO t VALUES (1, 'x', 'ab', 1.0, '{ }', '((0,0),(2,0.5))')",
        "INSERT INTO t VALUES (NULL, NULL, NULL, NULL, NULL, NULL)",
        "DELETE FROM t WHERE n::text = '1.00'",
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t)",
        "UPDATE t SET b = 'y' WHERE j::text = '{ }'",
        "UPDATE t SET b = 'z' WHERE ctid = (SELECT min(ctid) FROM t)",
        "UPDATE t SET a = 7 WHERE a IS NULL",
        "UPDATE t SET a = a",
    )
    assert world.carry_over() == 0
    world.same("SELECT t::text FROM t ORDER BY 1")


def test_partitions_arrive_through_their_root(world: World):
    carried(
        world,
        "CREATE TABLE t (id int, at int, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
        "CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE p2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "ALTER TABLE p2 REPLICA IDENTITY FULL",
    )
    world.on_source(
        "INSERT INTO t SELECT n, n, 'v' || n FROM generate_series(0, 19) n",
        "UPDATE t SET v = NULL WHERE id % 2 = 0",
        "UPDATE t SET at = (at + 10) % 20 WHERE id % 3 = 0",
        "UPDATE t SET id = id + 100 WHERE id % 5 = 0",
        "DELETE FROM t WHERE id % 7 = 0",
    )
    assert world.carry_over() == 0
    world.same("SELECT tableoid::regclass::text, * FROM t ORDER BY id")


def test_rows_without_a_key_in_partitions_are_not_mistaken_for_one_another(world: World):
    """Trap: equal ctids in two partitions."""
    carried(
        world,
        "CREATE TABLE t (at int, v text) PARTITION BY RANGE (at)",
        "CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE p2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
        *(f"ALTER TABLE {name} REPLICA IDENTITY FULL" for name in ("t", "p1", "p2")),
    )
    world.on_source(
        "INSERT INTO t VALUES (1, 'a'), (11, 'b'), (2, NULL), (12, NULL)",
        "DELETE FROM t WHERE at = 11",
        "UPDATE t SET v = 'c' WHERE at = 12",
    )
    assert world.carry_over() == 0
    world.same("SELECT * FROM t ORDER BY at")


def test_trap_8_values_that_change_places_within_a_window_park_nobody(world: World):
    """Coalescing to the last state of each key made both updates collide."""
    carried(world, "CREATE TABLE t (id int PRIMARY KEY, place int UNIQUE)")
    world.on_source("INSERT INTO t VALUES (1, 10), (2, 20)")
    world.on_source(
        "BEGIN; UPDATE t SET place = 0 WHERE id = 1; UPDATE t SET place = 10 WHERE id = 2;"
        " UPDATE t SET place = 20 WHERE id = 1; COMMIT"
    )
    assert world.carry_over() == 0
    world.same("SELECT * FROM t ORDER BY id")
    assert world.rows("SELECT tx FROM backout.progress", target=True) == [(3,)]


def test_a_refused_row_is_parked_and_its_neighbours_arrive(world: World):
    carried(world, "CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE)")
    world.on_target("INSERT INTO t VALUES (-1, 500)", "INSERT INTO t VALUES (700, -700)")
    world.on_source(
        "INSERT INTO t SELECT n, n FROM generate_series(1, 1500) n",
        "UPDATE t SET v = -v WHERE id BETWEEN 600 AND 800",
    )
    assert world.carry_over() == 2
    told = [row[1:] for row in world.parked()]
    assert told == [("insert", {"id": "500"}, "23505"), ("insert", {"id": "700"}, "23505")]
    with open_session(world.target_dsn, "backout/inc-1/4") as session:
        listed = parked.entries(session, RUN)
    assert [(one.relation, one.key, one.now) for one in listed] == [
        ("public.t", ("500",), {"id": "500", "v": "500"}),
        ("public.t", ("700",), {"id": "700", "v": "700"}),
    ]
    others = "SELECT * FROM t WHERE id > 0 AND id NOT IN (500, 700) ORDER BY id"
    world.same(others)
    assert world.rows("SELECT * FROM t WHERE id = 700", target=True) == [(700, -700)]


@pytest.mark.parametrize(
    ("target", "statement", "state"),
    [
        ("ALTER TABLE t ALTER v TYPE int USING 0", "INSERT INTO t VALUES (2, 'abc')", "22P02"),
        ("ALTER TABLE t ADD CHECK (v <> 'bad')", "INSERT INTO t VALUES (2, 'bad')", "23514"),
        ("ALTER TABLE t ALTER v SET NOT NULL", "INSERT INTO t VALUES (2, NULL)", "23502"),
        ("DELETE FROM t", "UPDATE t SET v = 'new' WHERE id = 1", ""),
        ("DELETE FROM t", "DELETE FROM t WHERE id = 1", ""),
        (
            "CREATE TABLE u (id int REFERENCES t); INSERT INTO u VALUES (1)",
            "TRUNCATE t; INSERT INTO t VALUES (9)",
            "0A000",
        ),
    ],
)
def test_whatever_a_row_brings_upon_itself_is_parked(world: World, target: str, statement: str, state: str):
    carried(world, "CREATE TABLE t (id int PRIMARY KEY, v text)")
    world.on_source("INSERT INTO t VALUES (1, '7')")
    assert world.carry_over() == 0
    world.on_target(target)
    world.on_source(statement, "INSERT INTO t VALUES (3, '8')")
    assert world.carry_over() == 1
    assert [row[3] for row in world.parked()] == [state]
    assert world.rows("SELECT v::text FROM t WHERE id = 3", target=True) == [("8",)]


def test_a_fault_of_the_whole_target_parks_nothing_and_moves_nothing(world: World):
    carried(world, "CREATE TABLE t (id int PRIMARY KEY, v text)")
    world.on_target("ALTER TABLE t DROP COLUMN v")
    world.on_source("INSERT INTO t VALUES (1, 'a')")
    before = world.confirmed()
    with pytest.raises(Refused, match='column "v"') as told:
        world.carry_over()
    assert told.value.intact and told.value.next
    assert world.parked() == []
    assert world.confirmed() == before
    world.on_target("ALTER TABLE t ADD v text")
    assert world.carry_over() == 0
    world.same("SELECT * FROM t")


def test_a_lock_that_is_not_granted_stops_and_resumes(world: World):
    carried(world, "CREATE TABLE t (id int PRIMARY KEY)")
    world.on_source("INSERT INTO t VALUES (1)")
    end = End(lsn=world.mark_end())
    with world.applier() as applier, psycopg.connect(world.target_dsn) as holder:
        holder.execute("LOCK TABLE t")
        with world.open(applier.lsn) as stream:
            applier._session.execute("SET lock_timeout = '50ms'")
            with pytest.raises(Stopped, match="lock timeout"):
                follow(stream, applier, end, world.directory)
    assert world.carry_over() == 0
    world.same("SELECT * FROM t")


def test_triggers_and_foreign_keys_stay_silent_where_the_role_may(world: World):
    carried(world, "CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int REFERENCES t)")
    world.on_source("ALTER PUBLICATION backout_r SET TABLE t")
    world.on_target(
        "CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO public.u VALUES (NEW.id); RETURN NEW; END $$",
        "CREATE TRIGGER twice AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION twice()",
    )
    with open_session(world.target_dsn, "backout/inc-1/1"):
        opened = open_target(world.target_dsn, "backout/inc-1/1")
        assert opened.bypasses
        opened.session.execute("INSERT INTO public.t VALUES (1)")
        opened.session.close()
    assert world.rows("SELECT * FROM u", target=True) == []


def test_a_plain_role_may_apply_and_is_told_that_triggers_fire(world: World):
    role = f"plain_{world.target_database}"
    world.on_target(f"CREATE ROLE {role} LOGIN")
    try:
        opened = open_target(world.target.dsn(world.target_database, role), "backout/inc-1/1")
        assert not opened.bypasses
        opened.session.close()
    finally:
        world.on_target(f"DROP ROLE {role}")


# --- exactly once


def test_trap_1_a_commit_that_is_not_durable_is_never_lost_silently(world: World):
    """The control: with synchronous_commit = off and an early confirmation the target forgets what the source
    was told it has. Reading on would skip it; instead it is refused."""
    carried(world, "CREATE TABLE t (id int PRIMARY KEY)")
    for attempt in range(5):  # now and then the WAL writer is quicker than we are
        world.on_source(f"INSERT INTO t VALUES ({attempt})")
        end = End(lsn=world.mark_end())
        with world.applier() as applier, world.open(applier.lsn) as stream:
            applier._session.execute("SET synchronous_commit = off")
            follow(stream, applier, end, world.directory, limits=Limits(transactions=1))
        servers.stop(world.target.layout, mode="immediate")
        servers.start(world.target.layout)
        if len(world.rows("SELECT * FROM t", target=True)) <= attempt:
            break
    else:
        raise AssertionError("the control did not lose anything")
    with pytest.raises(Refused, match="skip silently"):
        world.carry_over()


def test_what_was_confirmed_survives_an_immediate_stop_of_the_target(world: World):
    carried(world, "CREATE TABLE t (id int PRIMARY KEY)")
    world.on_source("INSERT INTO t SELECT generate_series(1, 100)")
    world.carry_over()
    servers.stop(world.target.layout, mode="immediate")
    servers.start(world.target.layout)
    world.same("SELECT * FROM t ORDER BY id")
    world.on_source("INSERT INTO t VALUES (101)")
    world.carry_over()
    world.same("SELECT * FROM t ORDER BY id")


def test_the_slot_is_confirmed_only_up_to_what_is_committed(world: World):
    carried(world, "CREATE TABLE t (id int PRIMARY KEY)")
    world.on_source("INSERT INTO t VALUES (1)")
    with world.applier() as applier, world.open(applier.lsn) as stream:
        with pytest.raises(DeadlinePassed):
            follow(stream, applier, End(), world.directory, deadline=time.monotonic() + 0.5)
        stream.acknowledge(applier.lsn)
        recorded = world.rows("SELECT lsn::text FROM backout.progress", target=True)
        assert recorded == [(lsn_text(applier.lsn),)]
    assert world.confirmed() <= applier.lsn
    world.same("SELECT * FROM t")


def test_the_position_moves_on_while_nothing_happens(world: World):
    """Else an idle source would keep its log for ever."""
    carried(world, "CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE unpublished (id int)")
    world.on_source("INSERT INTO unpublished SELECT generate_series(1, 10000)")
    with world.applier() as applier, world.open(applier.lsn) as stream:
        before = applier.lsn
        with pytest.raises(DeadlinePassed):
            limits = Limits(seconds=0.1)
            follow(stream, applier, End(), world.directory, limits=limits, deadline=time.monotonic() + 1.5)
        assert applier.lsn > before
    assert before < world.confirmed() <= applier.lsn


def test_a_process_that_was_overtaken_is_refused_and_its_rows_are_rolled_back(world: World):
    carried(world, "CREATE TABLE t (id int PRIMARY KEY)")
    world.on_source("INSERT INTO t VALUES (1)")
    with world.applier() as zombie, world.transactions(zombie.lsn) as found:
        for transaction in found:
            zombie.add(transaction)
        with open_session(world.target_dsn, "backout/inc-1/3") as other:
            assert tables.take_over(other, RUN).epoch == 2
        with pytest.raises(Refused, match="taken over"):
            zombie.commit()
    assert world.rows("SELECT * FROM t", target=True) == []
    assert world.carry_over() == 0
    world.same("SELECT * FROM t")


def test_a_window_is_never_applied_twice(world: World):
    carried(world, "CREATE TABLE t (id int)", "ALTER TABLE t REPLICA IDENTITY FULL")
    start = world.confirmed()
    world.on_source("INSERT INTO t VALUES (1)")
    with world.applier() as applier:
        with world.transactions(start) as found:
            applier.add(next(found))
        applier.commit()
        with world.transactions(start) as found:
            applier.add(next(found))
        with pytest.raises(Refused, match="may not move to"):
            applier.commit()
    assert world.rows("SELECT * FROM t", target=True) == [(1,)]


def test_a_window_commits_when_its_time_is_up(world: World):
    """Long before the end, and with nothing more coming."""
    carried(world, "CREATE TABLE t (id int PRIMARY KEY)")
    world.on_source("INSERT INTO t VALUES (1)")
    with world.applier() as applier, world.open(applier.lsn) as stream:
        limits = Limits(seconds=0.2)
        with pytest.raises(DeadlinePassed):
            follow(stream, applier, End(), world.directory, limits=limits, deadline=time.monotonic() + 1)
        assert world.confirmed() > 0
        world.same("SELECT * FROM t")


def test_one_transaction_larger_than_memory_arrives_whole(world: World):
    carried(world, "CREATE TABLE t (id int PRIMARY KEY, v text)")
    world.on_source("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 30000) n")
    assert world.carry_over(Limits(size=1 << 20)) == 0
    world.same("SELECT count(*), sum(id), min(v) FROM t")
    assert list(world.directory.iterdir()) == []


def test_making_our_tables_twice_changes_nothing(world: World):
    for start in (5, 9):
        world.prepare_target(start)
    with open_session(world.target_dsn, "backout/inc-1/1") as session:
        found = tables.read_progress(session, RUN)
        assert found is not None
        assert (found.lsn, found.epoch) == (5, 0)
        with pytest.raises(UnknownName):
            tables.take_over(session, "nosuch")


def test_a_target_that_does_not_flush_is_refused(world: World):
    world.on_target("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    try:
        time.sleep(0.3)
        with pytest.raises(Refused, match="fsync"):
            open_target(world.target_dsn, "backout/inc-1/1")
    finally:
        world.on_target(f"ALTER SYSTEM SET fsync = {TARGET['fsync']}", "SELECT pg_reload_conf()")
        time.sleep(0.3)


def test_a_target_that_goes_away_is_told_in_words(world: World):
    carried(world, "CREATE TABLE t (id int PRIMARY KEY)")
    world.on_source("INSERT INTO t VALUES (1)")
    with world.applier() as applier, world.transactions(applier.lsn) as found:
        kept = list(found)
        applier.add(kept[0])
        world.on_target(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'backout/inc-1/2'"
        )
        with pytest.raises(NeighbourUnreachable, match="target went away") as told:
            applier.commit()
    assert told.value.intact
    assert world.carry_over() == 0
    world.same("SELECT * FROM t")


def test_a_source_that_crashed_goes_on_from_the_progress(world: World):
    """After a crash the slot may stand at an older position than was confirmed: nothing comes twice."""
    carried(world, "CREATE TABLE t (id int)", "ALTER TABLE t REPLICA IDENTITY FULL")
    for n in range(3):
        world.on_source("INSERT INTO t VALUES (1)", f"INSERT INTO t VALUES ({n})")
        world.carry_over(Limits(transactions=1))
        servers.stop(world.source.layout, mode="immediate")
        servers.start(world.source.layout)
    assert world.carry_over() == 0
    world.same("SELECT * FROM t ORDER BY id")


def test_deferrable_keys_are_not_checked_while_applying_and_found_afterwards(world: World):
    """Trap: their check is a trigger, and ordinary triggers are silent under the replica role."""
    carried(
        world,
        "CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TABLE fine (id int PRIMARY KEY DEFERRABLE)",
    )
    world.on_target("INSERT INTO t VALUES (-1, 5), (-2, NULL), (-3, NULL)")
    world.on_source("INSERT INTO t VALUES (1, 5)", "INSERT INTO t VALUES (2, 6)")
    assert world.carry_over() == 0
    with open_session(world.target_dsn, "backout/inc-1/4") as session:
        assert doubled_keys(session) == [Doubled("public.t", "t_v_key", 1)]


REMEMBER = (
    b"INSERT INTO backout.base (run, rel, pk, current) VALUES ('inc-1', $1, ARRAY[$2], to_jsonb($3::text))"
)


class Remembering(SameSchema):
    """A translation with a memory, as the merge has one."""

    def writes(self, transaction: Transaction) -> Iterator[Write]:
        for write in super().writes(transaction):
            if isinstance(write.change, RowChange):
                row = write.change.new_values()
                yield Write(REMEMBER, (write.change.relation.name, row["id"], row["v"]), 1, None)
            yield write


def test_trap_2_the_memory_of_the_merge_commits_with_the_rows(world: World):
    """A restart must find what the rows before it taught: neither more nor less."""
    carried(world, "CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE)")
    world.on_target("INSERT INTO t VALUES (-1, 'v7')")
    world.on_source("INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 20) n")
    remembered = "SELECT pk[1]::int, current #>> '{}' FROM backout.base ORDER BY 1"
    with world.applier() as zombie, world.transactions(zombie.lsn) as found:
        zombie._translation = Remembering(zombie._translation._keys)  # type: ignore[attr-defined]
        zombie.add(next(found))
    assert world.rows(remembered, target=True) == []
    end = End(lsn=world.mark_end())
    with world.applier() as applier, world.open(applier.lsn) as stream:
        applier._translation = Remembering(applier._translation._keys)  # type: ignore[attr-defined]
        follow(stream, applier, end, world.directory)
        assert applier.parked == 1
    assert world.rows(remembered, target=True) == world.rows("SELECT * FROM t ORDER BY id")


def test_a_refusal_of_our_own_bookkeeping_ends_the_run(world: World):
    carried(world, "CREATE TABLE t (id int PRIMARY KEY, v text)")
    world.on_source("INSERT INTO t VALUES (1, 'a')")
    world.on_target("INSERT INTO backout.base (run, rel, pk) VALUES ('inc-1', 't', '{1}')")
    with world.applier() as applier, world.transactions(applier.lsn) as found:
        applier._translation = Remembering(applier._translation._keys)  # type: ignore[attr-defined]
        applier.add(next(found))
        with pytest.raises(Refused, match="duplicate key"):
            applier.commit()
    assert world.rows("SELECT * FROM t", target=True) == []


class _Thorough(SameSchema):
    """Stores the row where an update finds none."""

    def writes(self, transaction: Transaction) -> Iterator[Write]:
        for change in transaction.changes:
            assert isinstance(change, RowChange)
            key, value = change.new
            assert isinstance(key, str)
            assert isinstance(value, str)
            update = Write(update_query("public", "t", ("v",), ("id",)), (value, key), 1, change)
            yield replace(update, thorough=or_insert(update, "public", "t", {"id": key, "v": value}))


def test_a_write_that_finds_no_row_stores_it(world: World):
    """What is refused then is parked, and nothing else is."""
    carried(world, "CREATE TABLE t (id int PRIMARY KEY, v text CHECK (v <> 'never'))")
    world.on_source("ALTER TABLE t DROP CONSTRAINT t_v_check")
    world.on_source("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'never')")
    world.on_source("UPDATE t SET v = 'c' WHERE id = 1", "UPDATE t SET v = 'never' WHERE id = 2")
    end = End(lsn=world.mark_end())
    with open_target(world.target_dsn, "backout/inc-1/2").session as session:
        applier = Applier(session, tables.take_over(session, RUN), _Thorough({}), Parking(session, RUN, RUN))
        with world.open(applier.lsn) as stream:
            follow(stream, applier, end, world.directory)
    assert world.rows("SELECT id, v FROM t ORDER BY id", target=True) == [(1, "c"), (2, "b")]
    assert [sqlstate for *_, sqlstate in world.parked()] == ["23514", "23514"]
