"""The commit gate, the budgets, and that the tool is told the truth."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from backout.model.plan import KeepHow
from backout.postgres.proxy.policy import GatePlan, LockWait, Policy
from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream
from tests.proxy.helpers import through
from tests.proxy.world import (
    FIRST_NAME,
    GATE,
    USER_ROWS,
    VISIT_ROWS,
    WHOLE_VISITS,
    WORLD,
    keep,
    kept_tables,
    make,
    manifest,
    policy,
    untouched,
)


@pytest.fixture
def world(dsn: str) -> str:
    make(dsn)
    return dsn


UNKEPT = {
    "a column that is not kept": (FIRST_NAME, "ALTER TABLE users DROP COLUMN note", "loses note"),
    "a table that is not kept": (FIRST_NAME, "DROP TABLE visits", "visits is gone"),
    "a truncate": (FIRST_NAME, "TRUNCATE visits", "truncated or rewritten"),
    "a truncate beside a kept column": (
        FIRST_NAME,
        "ALTER TABLE users DROP COLUMN first_name; TRUNCATE users CASCADE",
        "truncated or rewritten",
    ),
    "a cascade": (USER_ROWS, "DELETE FROM users WHERE id = 1", "visits loses 1 rows"),
    "a delete elsewhere": (FIRST_NAME, "DELETE FROM visits WHERE id = 1", "visits loses 1 rows"),
    "an update elsewhere": (FIRST_NAME, "UPDATE visits SET at = NULL", "visits has 5 rows changed in at"),
    "an update of another column": (FIRST_NAME, "UPDATE users SET name = ''", "rows changed in name"),
    "triggers switched off": (
        VISIT_ROWS,
        "ALTER TABLE visits DISABLE TRIGGER USER; DELETE FROM visits WHERE id = 1",
        "1 rows deleted or changed and 0 of them were caught",
    ),
    "code that cannot be read": (
        FIRST_NAME,
        "DO $$ BEGIN EXECUTE 'DELETE FROM ' || 'visits'; END $$",
        "visits loses 5 rows",
    ),
    "a dropped and added column": (
        WHOLE_VISITS,
        "ALTER TABLE users DROP COLUMN name; ALTER TABLE users ADD COLUMN name text",
        "loses name",
    ),
}


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
def test_what_is_not_kept_is_refused(
    world: str, direct: psycopg.Connection, subtests: pytest.Subtests, autocommit: bool
):
    for name, (kept, script, reason) in UNKEPT.items():
        with subtests.test(name), Proxy(policy(kept), Upstream(world)) as proxy:
            with through(proxy, autocommit=autocommit) as tool:
                with pytest.raises(psycopg.Error) as caught:
                    tool.execute(script)
                    tool.commit()
                    assert not autocommit
                assert caught.value.sqlstate == "BO001"
                assert tool.info.transaction_status == TransactionStatus.IDLE
                assert tool.execute("SELECT 1").fetchone() == (1,)
            assert [r.what for r in proxy.refusals] == ["gate"]
            assert reason in proxy.refusals[0].detail
            assert proxy.sessions[0].commits == ()
            assert untouched(direct)


HARMLESS = {
    "a column comes back": "ALTER TABLE users ADD COLUMN again text DEFAULT 'x'",
    "a column is renamed": "ALTER TABLE users RENAME COLUMN note TO remark",
    "a table is renamed": "ALTER TABLE visits RENAME TO calls",
    "an index goes": "CREATE INDEX i ON users (name); DROP INDEX i",
    "a constraint goes": "ALTER TABLE visits DROP CONSTRAINT visits_user_id_fkey",
    "a type gets wider": "ALTER TABLE visits ALTER COLUMN user_id TYPE bigint",
    "a new table is filled and emptied": (
        "CREATE TABLE fresh (id int); INSERT INTO fresh VALUES (1); UPDATE fresh SET id = 2; TRUNCATE fresh"
    ),
    "rows are inserted": "INSERT INTO visits VALUES (77, 1, now())",
    "an update that changes nothing": "UPDATE users SET name = name",
    "a new column is filled": "ALTER TABLE visits ADD COLUMN day date; UPDATE visits SET day = at::date",
    "a renamed column stays": "ALTER TABLE users RENAME note TO n2; UPDATE users SET n2 = n2",
    "a temporary table": "CREATE TEMP TABLE scratch AS SELECT 1 AS a; DELETE FROM scratch",
    "a view goes": "CREATE VIEW v AS SELECT 1; DROP VIEW v",
    "a function goes": "CREATE FUNCTION f() RETURNS int RETURN 1; DROP FUNCTION f() CASCADE",
    "a table is locked and read": "LOCK TABLE visits; SELECT * FROM visits FOR UPDATE",
    "the history": "DELETE FROM history WHERE id = 2; INSERT INTO history VALUES (3, '003')",
}


def test_what_destroys_nothing_is_not_refused(
    world: str, direct: psycopg.Connection, subtests: pytest.Subtests
):
    for name, script in HARMLESS.items():
        direct.execute("DROP TABLE IF EXISTS users, visits, calls, history, fresh CASCADE")
        direct.execute(WORLD)
        with subtests.test(name), Proxy(policy(FIRST_NAME, VISIT_ROWS), Upstream(world)) as proxy:
            with through(proxy) as tool:
                for statement in script.split("; "):
                    tool.execute(statement)
            assert proxy.refusals == ()
            assert manifest(direct) == []
            assert kept_tables(direct) == []


def test_a_state_that_no_rehearsal_saw_is_refused(world: str, direct: psycopg.Connection):
    expected = replace(GATE, attributes_after=(("public.users", "id integer, name text, note jsonb"),))
    with Proxy(policy(FIRST_NAME, gate=expected), Upstream(world)) as proxy:
        with through(proxy) as tool:
            tool.execute("ALTER TABLE users DROP COLUMN first_name")
            tool.execute("ALTER TABLE users ADD COLUMN surprise int")
            with pytest.raises(psycopg.Error) as caught:
                tool.commit()
            assert caught.value.sqlstate == "BO001"
            assert "surprise integer" in str(caught.value)
        assert untouched(direct)
        with through(proxy) as tool:
            tool.execute("ALTER TABLE users DROP COLUMN first_name")
    assert manifest(direct) == [("public.users", "columns", 5, 5)]


def test_the_caller_has_the_last_word(world: str, direct: psycopg.Connection):
    def not_today(injected: object) -> str | None:
        return "not today"

    with Proxy(replace(policy(FIRST_NAME), also=not_today), Upstream(world)) as proxy, through(proxy) as tool:
        tool.execute("ALTER TABLE users DROP COLUMN first_name")
        with pytest.raises(psycopg.Error, match="not today"):
            tool.commit()
    assert untouched(direct)


def test_the_xid_is_journalled_before_the_commit_and_a_dead_journal_stops_it(
    world: str, direct: psycopg.Connection
):
    told: list[tuple[str, str, object]] = []

    def status(xid: str) -> object:
        row = direct.execute("SELECT pg_xact_status(%s::xid8)", (xid,)).fetchone()
        assert row is not None
        return row[0]

    def broken(xid: str) -> None:
        raise OSError("disk full")

    told_both = replace(
        policy(FIRST_NAME),
        on_commit=lambda xid: told.append(("before", xid, status(xid))),
        on_committed=lambda xid: told.append(("after", xid, status(xid))),
    )
    with Proxy(replace(told_both, on_commit=broken), Upstream(world)) as proxy, through(proxy) as tool:
        tool.execute("ALTER TABLE users DROP COLUMN first_name")
        with pytest.raises(psycopg.Error, match="journalled"):
            tool.commit()
    assert untouched(direct)
    with Proxy(told_both, Upstream(world)) as proxy, through(proxy) as tool:
        tool.execute("ALTER TABLE users DROP COLUMN first_name")
    assert [(word, state) for word, _, state in told] == [("before", "in progress"), ("after", "committed")]


def test_commit_of_a_failed_transaction_is_an_error(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy:
        with through(proxy, autocommit=True) as tool:
            tool.execute("BEGIN")
            tool.execute("ALTER TABLE users DROP COLUMN first_name")
            with pytest.raises(psycopg.errors.DivisionByZero):
                tool.execute("SELECT 1/0")
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                tool.execute("COMMIT")
            assert tool.info.transaction_status == TransactionStatus.IDLE
        assert [r.what for r in proxy.refusals] == ["commit of a failed transaction"]
    assert untouched(direct)


def test_a_deferred_constraint_speaks_in_its_own_words(world: str, direct: psycopg.Connection):
    direct.execute("ALTER TABLE visits ALTER CONSTRAINT visits_user_id_fkey DEFERRABLE INITIALLY DEFERRED")
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy, through(proxy) as tool:
        tool.execute("ALTER TABLE users DROP COLUMN first_name")
        tool.execute("INSERT INTO visits VALUES (50, 4711, now())")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            tool.commit()
        assert tool.info.transaction_status == TransactionStatus.IDLE
    assert untouched(direct)


def test_a_lock_that_is_not_to_be_had_is_told_with_its_holder(world: str, direct: psycopg.Connection):
    waits: list[LockWait] = []

    def blockers(pid: int) -> tuple[int, ...]:
        with psycopg.connect(world) as observer:
            row = observer.execute("SELECT pg_blocking_pids(%s)", (pid,)).fetchone()
        assert row is not None
        return tuple(row[0])

    def told(wait: LockWait) -> str | None:
        waits.append(wait)
        return "the application slows down" if wait.attempt == 2 else None

    patient = replace(policy(FIRST_NAME, lock_timeout=0.1, lock_patience=20), blockers=blockers, on_wait=told)
    with psycopg.connect(world) as reader, Proxy(patient, Upstream(world)) as proxy:
        reader.execute("SELECT count(*) FROM users")
        with through(proxy) as tool:
            with pytest.raises(psycopg.errors.LockNotAvailable, match="slows down"):
                tool.execute("ALTER TABLE users DROP COLUMN first_name")
            before = tool.info.transaction_status
            tool.rollback()
            assert (before, tool.info.transaction_status) == (
                TransactionStatus.INERROR,
                TransactionStatus.IDLE,
            )
        assert [r.what for r in proxy.refusals] == ["lock_timeout"]
        assert waits[-1].holders == (reader.info.backend_pid,)
        assert waits[-1].waited > 0.6  # 0.1 s in the queue, at least 0.5 s outside it
    assert untouched(direct)


def test_a_lock_that_becomes_free_is_taken(world: str, direct: psycopg.Connection):
    with (
        psycopg.connect(world) as reader,
        Proxy(policy(FIRST_NAME, lock_timeout=0.05), Upstream(world)) as proxy,
    ):
        reader.execute("SELECT count(*) FROM users")
        timer = threading.Timer(0.3, reader.rollback)
        timer.start()
        with through(proxy) as tool:
            tool.execute("ALTER TABLE users DROP COLUMN first_name")
        timer.join()
        assert proxy.refusals == ()
    assert manifest(direct) == [("public.users", "columns", 5, 5)]


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
def test_a_statement_that_holds_the_lock_too_long_is_cancelled(
    world: str, direct: psycopg.Connection, autocommit: bool
):
    slow = "DO $$ BEGIN ALTER TABLE users DROP COLUMN first_name; PERFORM pg_sleep(20); END $$"
    with Proxy(policy(FIRST_NAME, lock_hold=0.4), Upstream(world)) as proxy:
        with through(proxy, autocommit=autocommit) as tool:
            began = time.monotonic()
            with pytest.raises(psycopg.Error) as caught:
                tool.execute(slow)
            assert caught.value.sqlstate == "BO003"
            assert time.monotonic() - began < 5
            tool.rollback()
            assert direct.execute("SELECT count(first_name) FROM users").fetchone() == (5,)
        assert [r.what for r in proxy.refusals] == ["lock_hold"]
    assert untouched(direct)


def test_a_tool_that_thinks_too_long_loses_its_transaction(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME, lock_hold=0.3), Upstream(world)) as proxy, through(proxy) as tool:
        tool.execute("ALTER TABLE users DROP COLUMN first_name")
        time.sleep(0.6)
        assert untouched(direct)  # the application goes on while the tool still thinks
        with pytest.raises(psycopg.errors.InFailedSqlTransaction, match="lock_hold"):
            tool.execute("DELETE FROM history WHERE id = 2")
        with pytest.raises(psycopg.Error) as caught:
            tool.commit()
        assert caught.value.sqlstate == "BO003"
        assert tool.info.transaction_status == TransactionStatus.IDLE


def test_reading_before_the_lock_above_read_committed_is_refused(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy, through(proxy, autocommit=True) as tool:
        tool.execute("BEGIN")
        tool.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        tool.execute("ALTER TABLE users DROP COLUMN first_name")
        tool.execute("ROLLBACK")
        assert proxy.refusals == ()
        tool.execute("BEGIN; SELECT 1")
        with pytest.raises(psycopg.Error):
            tool.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        tool.execute("ROLLBACK")
    assert untouched(direct)


def test_a_stale_plan_and_row_security_refuse_before_anything_happens(world: str, direct: psycopg.Connection):
    stale = keep("public.users", KeepHow.COLUMNS, "no_such_column")
    with Proxy(policy(stale), Upstream(world)) as proxy, through(proxy) as tool:
        with pytest.raises(psycopg.Error) as caught:
            tool.execute("ALTER TABLE users DROP COLUMN first_name")
        assert caught.value.sqlstate == "BO002"
        assert "stale" in str(caught.value)
        tool.rollback()
    direct.execute("ALTER TABLE users ENABLE ROW LEVEL SECURITY; ALTER TABLE users FORCE ROW LEVEL SECURITY")
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy, through(proxy) as tool:
        with pytest.raises(psycopg.Error, match="row-level security"):
            tool.execute("ALTER TABLE users DROP COLUMN first_name")
        tool.rollback()
    direct.execute("ALTER TABLE users NO FORCE ROW LEVEL SECURITY")
    assert untouched(direct)


def test_prepared_transactions_do_not_slip_past_the_gate(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy, through(proxy, autocommit=True) as tool:
        tool.execute("BEGIN")
        tool.execute("DROP TABLE visits")
        with pytest.raises(psycopg.Error) as caught:
            tool.execute("PREPARE TRANSACTION 'later'")
        assert caught.value.sqlstate == "BO004"
        tool.execute("ROLLBACK")
    assert untouched(direct)


def test_a_pipelined_transaction_is_kept_and_gated(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy:
        with through(proxy, autocommit=True) as tool, tool.pipeline(), tool.transaction():
            tool.execute("ALTER TABLE users DROP COLUMN first_name")
            tool.execute("DELETE FROM history WHERE id = 2")
        with (
            pytest.raises(psycopg.Error) as caught,
            through(proxy, autocommit=True) as tool,
            tool.pipeline(),
            tool.transaction(),
        ):
            tool.execute("DROP TABLE visits")
        assert caught.value.sqlstate == "BO001"
    assert manifest(direct) == [("public.users", "columns", 5, 5)]
    assert direct.execute("SELECT count(*) FROM visits").fetchone() == (5,)


def test_copy_in_passes_while_keeping(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy:
        for autocommit in (False, True):
            with (
                through(proxy, autocommit=autocommit) as tool,
                tool.cursor().copy("COPY visits FROM STDIN") as copy,
            ):
                for n in range(20_000):
                    copy.write_row((1000 + n + 100_000 * autocommit, 1, "2024-01-01 00:00+00"))
        assert proxy.refusals == ()
        with through(proxy, autocommit=True) as tool:
            with pytest.raises(psycopg.Error), tool.cursor().copy("COPY visits FROM STDIN") as copy:
                copy.write_row((1000, 1, "2024-01-01 00:00+00"))
            assert tool.execute("SELECT count(*) FROM visits").fetchone() == (40_005,)


def test_the_unnamed_statement_of_the_tool_survives_our_own(world: str):
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy, through(proxy, autocommit=True) as tool:
        tool.execute("BEGIN")
        line = tool.pgconn
        assert line.prepare(b"", b"ALTER TABLE users DROP COLUMN first_name").status == 1
        assert line.exec_prepared(b"", None).status == 1  # our lock and copies came in between
        assert line.exec_prepared(b"", None).status == 7  # the same statement again: no such column now
        tool.execute("ROLLBACK")


def test_a_policy_that_only_marks_wraps_nothing_else(world: str):
    with Proxy(Policy(gate=GatePlan()), Upstream(world)) as proxy, through(proxy, autocommit=True) as tool:
        tool.execute("VACUUM users")
        tool.execute("INSERT INTO visits VALUES (88, 1, now())")
        with pytest.raises(psycopg.errors.InvalidTransactionTermination):
            tool.execute("DO $$ BEGIN COMMIT; END $$")
        with pytest.raises(psycopg.Error, match="history loses 1 rows"):
            tool.execute("DELETE FROM history WHERE id = 1")


def test_a_long_pipeline_passes_while_keeping(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy:
        with through(proxy, autocommit=True) as tool, tool.pipeline() as pipeline:
            for number in range(100, 400):
                tool.execute("INSERT INTO visits VALUES (%s, 1, now())", (number,))
                if number % 10 == 0:
                    pipeline.sync()
        assert proxy.refusals == ()
    assert direct.execute("SELECT count(*) FROM visits").fetchone() == (305,)


def test_a_renamed_table_is_watched_under_its_new_name(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy, through(proxy) as tool:
        tool.execute("ALTER TABLE visits RENAME TO calls")
        tool.execute("UPDATE calls SET at = NULL WHERE id = 1")
        with pytest.raises(psycopg.Error, match="visits has 1 rows changed in at"):
            tool.commit()
    assert untouched(direct)


_SPOIL = """DO $$ DECLARE r text; BEGIN
  SELECT c.relname INTO r FROM pg_class c
  WHERE c.relnamespace = 'backout_kept'::regnamespace AND c.relname LIKE 'k\\_%';
  EXECUTE 'UPDATE backout_kept.' || r || ' SET first_name = NULL WHERE id <= 3';
END $$;"""


def test_values_that_are_counted_in_the_table_and_missing_among_the_kept_are_refused(
    world: str, direct: psycopg.Connection
):
    """As many rows as before, but fewer values: what is destroyed is not counted where it is kept."""
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy, through(proxy) as tool:
        tool.execute("ALTER TABLE users DROP COLUMN first_name")
        tool.execute(_SPOIL)
        with pytest.raises(psycopg.Error, match="nothing was committed"):
            tool.commit()
        assert "public.users loses 5 values, and 4 of them are kept" in proxy.refusals[0].detail
    assert untouched(direct)
