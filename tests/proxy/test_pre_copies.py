"""A large table is copied before the down; the rest comes under the lock, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import psycopg
import pytest

from backout.model.plan import Budgets, Keep, KeepHow, KeepWay
from backout.postgres import pre_copies
from backout.postgres.connect import open_session
from backout.postgres.proxy.policy import GatePlan, KeepPlan, Policy, PreCopy
from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream
from backout.testing.servers import RealServer, available_majors, start_server, stop_server
from tests.proxy import fire
from tests.proxy.helpers import through
from tests.proxy.world import GATE, keep, kept_tables, leftovers, make, manifest

BUDGETS = Budgets(lock_hold=60.0)
COLUMN = replace(keep("public.users", KeepHow.COLUMNS, "first_name"), way=KeepWay.PRE_COPY)
DOWN = "ALTER TABLE users DROP COLUMN first_name"


@pytest.fixture
def world(dsn: str) -> str:
    make(dsn)
    return dsn


def copied(dsn: str, *keeps: Keep, incident: str = "i") -> tuple[PreCopy, ...]:
    """Pre-copies of these tables, as the role of the tool."""
    with open_session(dsn, "backout/test/2") as session:
        return pre_copies.take(session, incident, keeps or (COLUMN,), BUDGETS)


def dropped(dsn: str, incident: str = "i") -> int:
    with open_session(dsn, "backout/test/3") as session:
        return pre_copies.drop(session, incident)


def keeping(before: tuple[PreCopy, ...], gate: GatePlan = GATE) -> Policy:
    plan = KeepPlan(tuple(one.keep for one in before), "i", pre_copies=before)
    return Policy(mark={"incident": "i"}, keep=plan, gate=gate, budgets=BUDGETS)


def down(dsn: str, before: tuple[PreCopy, ...], *statements: str, autocommit: bool = False) -> Proxy:
    """The tool's transaction, its pre-copies and the gate."""
    with Proxy(keeping(before), Upstream(dsn)) as proxy, through(proxy, autocommit=autocommit) as tool:
        for statement in statements or (DOWN,):
            tool.execute(statement)
    return proxy


def kept(direct: psycopg.Connection) -> dict[int, str | None]:
    """What is kept, by key."""
    (table,) = kept_tables(direct)
    return dict(direct.execute(f"SELECT id, first_name FROM backout_kept.{table}").fetchall())


def expected(*but: int, **more: str) -> dict[int, str | None]:
    """The kept values of the world as it was made, without some keys, with others."""
    there = {n: f"first {n}" for n in (2, 4, 6, 8, 10) if n not in but}
    return {**there, **{int(key.removeprefix("k")): value for key, value in more.items()}}


def test_on_a_quiet_table_both_ways_keep_the_same(world: str, direct: psycopg.Connection):
    direct.execute("CREATE TABLE twin (LIKE users INCLUDING ALL); INSERT INTO twin SELECT * FROM users")
    twin = replace(COLUMN, table="public.twin", way=KeepWay.UNDER_LOCK)
    before = copied(world)
    policy = keeping(before)
    assert policy.keep is not None
    both = replace(policy, keep=replace(policy.keep, keeps=(COLUMN, twin)))
    with Proxy(both, Upstream(world)) as proxy, through(proxy) as tool:
        tool.execute(DOWN)
        tool.execute("ALTER TABLE twin DROP COLUMN first_name")
    assert proxy.refusals == ()
    tables = kept_tables(direct)
    first, second = (direct.execute(f"SELECT * FROM backout_kept.{t} ORDER BY 1").fetchall() for t in tables)
    assert first == second == sorted(expected().items())
    assert sorted(row[1:] for row in manifest(direct)) == [("columns", 5, 5)] * 2
    assert leftovers(direct) == 0


def test_what_is_written_after_the_pre_copy_is_kept_as_it_was_last(world: str, direct: psycopg.Connection):
    before = copied(world)
    direct.execute(
        "UPDATE users SET first_name = 'changed' WHERE id = 2;"
        "UPDATE users SET first_name = 'filled' WHERE id = 1;"
        "UPDATE users SET first_name = NULL WHERE id = 4;"
        "UPDATE users SET first_name = 'first' WHERE id = 6;"
        "UPDATE users SET first_name = 'twice' WHERE id = 6;"
        "INSERT INTO users VALUES (11, 'new', 'new'), (12, 'new', NULL)"
    )
    assert down(world, before).refusals == ()
    assert kept(direct) == expected(4, k2="changed", k1="filled", k6="twice", k11="new")
    assert manifest(direct) == [("public.users", "columns", 6, 6)]


def test_a_row_deleted_meanwhile_stays_kept_and_is_no_value_that_the_down_destroyed(
    world: str, direct: psycopg.Connection
):
    before = copied(world)
    direct.execute("DELETE FROM users WHERE id IN (7, 8)")
    assert down(world, before).refusals == ()
    assert kept(direct) == expected()
    figures = direct.execute(
        "SELECT rows, kept_values, destroyed_values FROM backout_kept.manifest"
    ).fetchone()
    assert figures == (5, 4, 4)


def test_a_row_with_another_key_is_kept_under_the_key_it_has(world: str, direct: psycopg.Connection):
    before = copied(world)
    direct.execute("UPDATE users SET id = 20 WHERE id = 10; UPDATE users SET id = 10 WHERE id = 9")
    assert down(world, before).refusals == ()
    assert kept(direct) == expected(10, k20="first 10")  # 10 is a row without a value now
    assert manifest(direct) == [("public.users", "columns", 5, 5)]


# --- four kinds of transactions that the snapshot of the pre-copy does not see


@contextmanager
def unfinished(dsn: str) -> Iterator[psycopg.Connection]:
    """A transaction that wrote before the pre-copy and is still open when the block begins."""
    with psycopg.connect(dsn) as writer:
        writer.execute("UPDATE users SET first_name = 'across' WHERE id = 2")
        yield writer


def test_a_transaction_open_across_the_pre_copy_is_in_the_delta(world: str, direct: psycopg.Connection):
    with unfinished(world) as writer:
        before = copied(world)
        writer.commit()
    assert down(world, before).refusals == ()
    assert kept(direct) == expected(k2="across")


def test_subtransactions_of_it_are_in_the_delta(world: str, direct: psycopg.Connection):
    with unfinished(world) as writer:
        writer.execute("SAVEPOINT a")
        writer.execute("UPDATE users SET first_name = 'released' WHERE id = 4")
        writer.execute("RELEASE a")
        before = copied(world)
        writer.execute("SAVEPOINT b")
        writer.execute("UPDATE users SET first_name = 'later' WHERE id = 6")
        writer.execute("RELEASE b")
        writer.execute("SAVEPOINT c")
        writer.execute("UPDATE users SET first_name = 'never' WHERE id = 8")
        writer.execute("ROLLBACK TO c")
        writer.commit()
    assert down(world, before).refusals == ()
    assert kept(direct) == expected(k2="across", k4="released", k6="later")


def test_a_prepared_transaction_is_in_the_delta():
    server = start_server(available_majors()[-1], settings={"max_prepared_transactions": "5"})
    try:
        with server.database() as name:
            dsn = server.dsn(name)
            make(dsn)
            with unfinished(dsn) as writer:
                writer.execute("PREPARE TRANSACTION 'across'")
            before = copied(dsn)
            with server.connect(name) as direct:
                direct.execute("COMMIT PREPARED 'across'")
                assert down(dsn, before).refusals == ()
                assert kept(direct) == expected(k2="across")
    finally:
        stop_server(server)


FREEZE, REWRITE = "VACUUM (FREEZE) users", "VACUUM (FULL, FREEZE) users"


@pytest.mark.parametrize("between", [FREEZE, REWRITE])
def test_freezing_and_rewriting_in_between_hide_nothing(world: str, direct: psycopg.Connection, between: str):
    with unfinished(world) as writer:
        before = copied(world)
        writer.commit()
    direct.execute("UPDATE users SET first_name = 'later' WHERE id = 4")
    direct.execute(between.encode())
    assert down(world, before).refusals == ()
    assert kept(direct) == expected(k2="across", k4="later")


# --- a pre-copy is not a kept table until the down commits


def test_a_pre_copy_alone_is_never_counted_as_kept_and_is_found_again(world: str, direct: psycopg.Connection):
    (before,) = copied(world)
    assert kept_tables(direct) == [before.name]
    assert manifest(direct) == []
    assert dropped(world, "another") == 0
    assert dropped(world) == 1
    assert kept_tables(direct) == []


def test_the_next_pre_copy_is_taken_anew(world: str, direct: psycopg.Connection):
    """Never the one of an attempt that was killed: whatever it lacks would have to be in the delta."""
    copied(world)
    direct.execute("UPDATE users SET first_name = 'newer' WHERE id = 2")
    (before,) = copied(world)
    assert kept(direct) == expected(k2="newer")
    assert down(world, (before,)).refusals == ()
    assert kept(direct) == expected(k2="newer")


def test_a_down_that_rolls_back_leaves_a_pre_copy_and_no_kept_table(world: str, direct: psycopg.Connection):
    before = copied(world)
    with Proxy(keeping(before), Upstream(world)) as proxy, through(proxy) as tool:
        tool.execute(DOWN)
        tool.rollback()
    assert kept_tables(direct) == [before[0].name]
    assert manifest(direct) == []
    assert dropped(world) == 1


def test_a_savepoint_that_takes_the_delta_back_has_it_made_again(world: str, direct: psycopg.Connection):
    before = copied(world)
    direct.execute("UPDATE users SET first_name = 'newer' WHERE id = 2")
    proxy = down(world, before, "SAVEPOINT a", DOWN, "ROLLBACK TO SAVEPOINT a", "SELECT 1", DOWN)
    assert proxy.refusals == ()
    assert kept(direct) == expected(k2="newer")
    assert len(manifest(direct)) == 1


def test_transactions_that_need_it_only_later_leave_it_for_the_one_that_does(
    world: str, direct: psycopg.Connection
):
    before = copied(world)
    with Proxy(keeping(before), Upstream(world)) as proxy, through(proxy) as tool:
        tool.execute("ALTER TABLE users ADD COLUMN full_name text")
        tool.commit()
        direct.execute("UPDATE users SET first_name = 'newer' WHERE id = 2")
        tool.execute(DOWN)
    assert proxy.refusals == ()
    assert kept(direct) == expected(k2="newer")
    assert dropped(world) == 0


def test_a_column_made_anew_is_copied_under_the_lock(world: str, direct: psycopg.Connection):
    """With a default its rows are older than the pre-copy, and hold other values."""
    before = copied(world)
    direct.execute(f"{DOWN}; ALTER TABLE users ADD COLUMN first_name text DEFAULT 'anew'")
    assert down(world, before).refusals == ()
    (table,) = [name for name in kept_tables(direct) if name != before[0].name]
    rows = direct.execute(f"SELECT DISTINCT first_name FROM backout_kept.{table}").fetchall()
    assert (rows, manifest(direct)) == ([("anew",)], [("public.users", "columns", 10, 10)])


def test_a_pre_copy_that_lacks_a_row_does_not_commit(world: str, direct: psycopg.Connection):
    before = copied(world)
    direct.execute(f"DELETE FROM backout_kept.{before[0].name} WHERE id = 2")
    with Proxy(keeping(before), Upstream(world)) as proxy:
        with closing(through(proxy)) as tool:
            tool.execute(DOWN)
            with pytest.raises(psycopg.Error, match="holds 4 rows and 5 were copied"):
                tool.commit()
        assert [refusal.what for refusal in proxy.refusals] == ["gate"]
    assert manifest(direct) == []


def test_values_of_a_type_of_the_users_are_copied_as_their_text(world: str, direct: psycopg.Connection):
    direct.execute(
        "CREATE TYPE mood AS ENUM ('calm', 'tense');"
        "CREATE TABLE moods (id mood PRIMARY KEY, m mood, at timestamptz DEFAULT now());"
        "INSERT INTO moods VALUES ('calm', 'tense')"
    )
    column = replace(keep("public.moods", KeepHow.COLUMNS, "m", "at"), way=KeepWay.PRE_COPY)
    before = copied(world, column)
    direct.execute("UPDATE moods SET m = 'calm'; INSERT INTO moods VALUES ('tense', 'calm', NULL)")
    down(world, before, "ALTER TABLE moods DROP COLUMN m, DROP COLUMN at")
    (table,) = kept_tables(direct)
    assert direct.execute(f"SELECT id, m FROM backout_kept.{table} ORDER BY 1").fetchall() == [
        ("calm", "calm"),
        ("tense", "calm"),
    ]
    assert manifest(direct) == [("public.moods", "columns", 2, 3)]


def test_a_publication_of_all_tables_does_not_stop_the_delta(
    pg: RealServer, world: str, direct: psycopg.Connection
):
    before = copied(world)
    direct.execute("UPDATE users SET first_name = 'newer' WHERE id = 2")
    with pg.connect(direct.info.dbname) as admin:
        admin.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    assert down(world, before).refusals == ()
    assert kept(direct) == expected(k2="newer")


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_above_read_committed_the_delta_comes_after_the_lock(
    world: str, direct: psycopg.Connection, isolation: str
):
    before = copied(world)
    direct.execute("UPDATE users SET first_name = 'newer' WHERE id = 2")
    script = (f"BEGIN ISOLATION LEVEL {isolation}", "SELECT 1", DOWN, "COMMIT")
    assert down(world, before, *script, autocommit=True).refusals == ()
    assert kept(direct) == expected(k2="newer")


CAN = (
    "CREATE TABLE t (id int NOT NULL UNIQUE, v int)",
    "CREATE TABLE t (id int, v int, PRIMARY KEY (id))",
)
CANNOT = {
    "CREATE TABLE t (id int, v int)": "no unique key",
    "CREATE TABLE t (id int UNIQUE, v int)": "no unique key",
    "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, v int)": "no unique key",
    "CREATE TABLE t (id int NOT NULL, v int); CREATE UNIQUE INDEX ON t (id) WHERE v > 0": "no unique key",
    "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE c () INHERITS (t)": "has children",
    "CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id)": "is partitioned",
}


def test_which_tables_can_be_copied_before(dsn: str, direct: psycopg.Connection):
    with open_session(dsn, "backout/test/1") as session:
        for table, why in {**dict.fromkeys(CAN, ""), **CANNOT}.items():
            direct.execute(f"DROP TABLE IF EXISTS t CASCADE; DROP TABLE IF EXISTS c; {table}".encode())
            told = pre_copies.why_not(session, keep("public.t", KeepHow.COLUMNS, "v"))
            assert (why in told) if why else (told == ""), table
        assert pre_copies.why_not(session, keep("public.t", KeepHow.CHANGED_ROWS, "v")) != ""


# --- under fire

FIRE = Keep("public.dropped_column", 0, KeepHow.COLUMNS, ("id",), ("v",), KeepWay.PRE_COPY)


def under_fire(dsn: str, script: list[str], *, autocommit: bool = False) -> list[fire.Writer]:
    fire.make(dsn)
    with fire.under_fire(dsn) as writers:
        before = copied(dsn, FIRE, incident="i")
        policy = keeping(before, GatePlan())
        assert policy.keep is not None
        keeps = (FIRE, *fire.KEEPS[1:])
        policy = replace(policy, keep=replace(policy.keep, keeps=keeps))
        with Proxy(policy, Upstream(dsn)) as proxy, through(proxy, autocommit=autocommit) as tool:
            for statement in script:
                tool.execute(statement)
        assert proxy.refusals == ()
    assert [fault for writer in writers for fault in writer.faults] == []
    assert dropped(dsn) == 0  # it was used
    return writers


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
def test_no_acknowledged_value_is_lost_under_four_writers(dsn: str, autocommit: bool):
    writers = under_fire(dsn, list(fire.DOWN), autocommit=autocommit)
    assert sum(len(writer.ledger) for writer in writers) > 200
    assert fire.lost(dsn, writers) == []


def test_control_a_pre_copy_without_its_delta_loses(dsn: str):
    """The harness sees it when the delta is left out: what was written after the pre-copy is not there."""
    fire.make(dsn)
    with fire.under_fire(dsn) as writers:
        (before,) = copied(dsn, FIRE)
        with psycopg.connect(dsn) as tool:
            tool.execute(fire.TIME_OF_A_COPY)
            tool.execute("LOCK TABLE dropped_column IN ACCESS EXCLUSIVE MODE")
            tool.execute(
                "INSERT INTO backout_kept.manifest VALUES ('i', 1, 'public.dropped_column', 0, 'columns',"
                f" '{{id}}', '{{v}}', 0, 0, '', NULL, now(), '{before.name}')"
            )
            tool.execute(fire.DOWN[0])
    assert {table for table, _, _ in fire.lost(dsn, writers)} == {"dropped_column"}


@pytest.mark.soak
@pytest.mark.parametrize("run", range(10))
@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
def test_soak_no_acknowledged_value_is_lost(dsn: str, autocommit: bool, run: int):
    writers = under_fire(dsn, list(fire.DOWN), autocommit=autocommit)
    assert fire.lost(dsn, writers) == []
