"""Every way to destroy values, and what is in `backout_kept` after it."""

from __future__ import annotations

import psycopg
import pytest

from backout.model.plan import KeepHow
from backout.postgres.proxy.policy import Policy
from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream
from tests.proxy.helpers import through
from tests.proxy.world import (
    FIRST_NAME,
    USER_ROWS,
    VISIT_ROWS,
    WHOLE_VISITS,
    keep,
    kept_tables,
    leftovers,
    make,
    manifest,
    policy,
)


@pytest.fixture
def world(dsn: str) -> str:
    make(dsn)
    return dsn


def test_a_dropped_column_is_kept_under_its_key(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy:
        with through(proxy) as tool:
            tool.execute("SELECT name FROM history")
            tool.execute("ALTER TABLE users DROP COLUMN first_name")
            tool.execute("DELETE FROM history WHERE id = 2")
        assert proxy.refusals == ()
        (commit,) = proxy.sessions[0].commits
    assert manifest(direct) == [("public.users", "columns", 5, 5)]
    (table,) = kept_tables(direct)
    assert commit.kept == (table,)
    rows = direct.execute(f"SELECT id, first_name FROM backout_kept.{table} ORDER BY id").fetchall()
    assert rows == [(n, f"first {n}") for n in (2, 4, 6, 8, 10)]
    xid = direct.execute("SELECT xid, oid = 'users'::regclass FROM backout_kept.manifest").fetchone()
    assert xid == (commit.xid, True)
    assert direct.execute("SELECT pg_xact_status(%s::xid8)", (commit.xid,)).fetchone() == ("committed",)


def test_deleted_rows_and_their_cascade_are_kept(world: str, direct: psycopg.Connection):
    with Proxy(policy(USER_ROWS, VISIT_ROWS), Upstream(world)) as proxy:
        with through(proxy) as tool:
            tool.execute("DELETE FROM users WHERE id <= %s", (3,))
        assert proxy.refusals == ()
    assert manifest(direct) == [
        ("public.users", "changed rows", 3, 10),
        ("public.visits", "changed rows", 3, 9),
    ]
    assert leftovers(direct) == 0


def test_changed_cells_are_kept_and_unchanged_rows_are_not(world: str, direct: psycopg.Connection):
    with Proxy(policy(USER_ROWS), Upstream(world)) as proxy:
        with through(proxy) as tool:
            tool.execute("UPDATE users SET first_name = 'x', note = note WHERE id < 5")
        assert proxy.refusals == ()
    assert manifest(direct) == [("public.users", "changed rows", 4, 4)]  # a NULL that was overwritten counts
    (table,) = kept_tables(direct)
    rows = direct.execute(
        f"SELECT id, first_name, backout_op, backout_changed FROM backout_kept.{table} ORDER BY id"
    ).fetchall()
    assert rows[0] == (1, None, "U", ["first_name"])
    assert rows[1] == (2, "first 2", "U", ["first_name"])


@pytest.mark.parametrize("statement", ["DROP TABLE visits", "TRUNCATE visits", "DROP TABLE visits CASCADE"])
def test_a_whole_table_is_kept(world: str, direct: psycopg.Connection, statement: str):
    with Proxy(policy(WHOLE_VISITS), Upstream(world)) as proxy:
        with through(proxy) as tool:
            tool.execute(statement)
        assert proxy.refusals == ()
    assert manifest(direct) == [("public.visits", "whole table", 5, 15)]


def test_partitions_are_kept_through_the_root_and_the_leaf(world: str, direct: psycopg.Connection):
    direct.execute(
        "CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
        "CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE parts_b PARTITION OF parts FOR VALUES FROM (10) TO (20);"
        "INSERT INTO parts SELECT n, 'v' FROM generate_series(1, 19) n"
    )
    rows = keep("public.parts", KeepHow.CHANGED_ROWS, "v")
    with Proxy(policy(rows), Upstream(world)) as proxy:
        with through(proxy) as tool:
            tool.execute("DELETE FROM parts WHERE id IN (1, 12)")
            tool.execute("DELETE FROM parts_b WHERE id = 13")
            tool.execute("UPDATE parts SET id = 14 + id WHERE id = 2 AND false")
        assert proxy.refusals == ()
    assert manifest(direct) == [("public.parts", "changed rows", 3, 6)]


def test_a_column_that_is_copied_back_and_dropped_needs_only_its_copy(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy:
        with through(proxy) as tool:
            tool.execute("ALTER TABLE users ADD COLUMN full_name text")
            tool.execute("UPDATE users SET full_name = first_name WHERE first_name IS NOT NULL")
            tool.execute("ALTER TABLE users DROP COLUMN first_name")
            tool.execute("ALTER TABLE users RENAME COLUMN full_name TO first_name")
        assert proxy.refusals == ()
    assert manifest(direct) == [("public.users", "columns", 5, 5)]
    assert len(kept_tables(direct)) == 1
    assert leftovers(direct) == 0


def test_a_table_without_a_key_is_kept_by_whole_rows(world: str, direct: psycopg.Connection):
    direct.execute("CREATE TABLE loose (a int, b text); INSERT INTO loose VALUES (1, 'x'), (2, NULL)")
    column = keep("public.loose", KeepHow.COLUMNS, "b", key=())
    with Proxy(policy(column), Upstream(world)) as proxy, through(proxy) as tool:
        tool.execute("ALTER TABLE loose DROP COLUMN b")
    (table,) = kept_tables(direct)
    assert direct.execute(f"SELECT a, b FROM backout_kept.{table}").fetchall() == [(1, "x")]


def test_every_statement_of_an_autocommit_down_keeps_for_itself(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME, VISIT_ROWS), Upstream(world)) as proxy:
        with through(proxy, autocommit=True) as tool:
            tool.execute("ALTER TABLE users DROP COLUMN first_name")
            direct.execute("UPDATE visits SET at = '2020-01-01' WHERE id = 1")  # the application goes on
            tool.execute("DELETE FROM visits WHERE id = 1")
            tool.execute("CREATE INDEX CONCURRENTLY late ON users (name)")
            tool.execute("DELETE FROM history WHERE id = 2")
            assert tool.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert proxy.refusals == ()
        assert [len(c.kept) for c in proxy.sessions[0].commits] == [1, 1, 0]
    assert manifest(direct) == [("public.users", "columns", 5, 5), ("public.visits", "changed rows", 1, 3)]
    table = kept_tables(direct)[1]
    assert direct.execute(f"SELECT at::date::text FROM backout_kept.{table}").fetchone() == ("2020-01-01",)


def test_two_transactions_keep_only_what_each_destroys(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME, WHOLE_VISITS), Upstream(world)) as proxy:
        with through(proxy) as tool:
            tool.execute("ALTER TABLE users DROP COLUMN first_name")
            tool.commit()
            direct.execute("INSERT INTO visits VALUES (99, 1, now())")
            tool.execute("DROP TABLE visits")
        assert proxy.refusals == ()
    assert manifest(direct) == [("public.users", "columns", 5, 5), ("public.visits", "whole table", 6, 18)]


def test_a_script_in_one_query_is_kept_and_gated(world: str, direct: psycopg.Connection):
    script = (
        "SET lock_timeout = '3s'; -- as files do\nBEGIN; ALTER TABLE users DROP COLUMN first_name;"
        " DELETE FROM history WHERE id = 2; COMMIT; SELECT 1"
    )
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy:
        with through(proxy, autocommit=True) as tool:
            cursor = tool.execute(script)
            tags = [cursor.statusmessage]
            while cursor.nextset():
                tags.append(cursor.statusmessage)
        assert tags == ["SET", "BEGIN", "ALTER TABLE", "DELETE 1", "COMMIT", "SELECT 1"]
        assert proxy.refusals == ()
    assert manifest(direct) == [("public.users", "columns", 5, 5)]


def test_an_implicit_transaction_stays_one(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy, through(proxy, autocommit=True) as tool:
        with pytest.raises(psycopg.errors.DivisionByZero) as caught:
            tool.execute("ALTER TABLE users DROP COLUMN first_name; SELECT 1/0")
        assert caught.value.diag.sqlstate == "22012"
        assert direct.execute("SELECT count(first_name) FROM users").fetchone() == (5,)
        assert kept_tables(direct) == []
        tool.execute("ALTER TABLE users DROP COLUMN first_name; DELETE FROM history WHERE id = 2")
    assert manifest(direct) == [("public.users", "columns", 5, 5)]


def test_above_read_committed_the_lock_comes_before_the_snapshot(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy, through(proxy) as tool:
        tool.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        tool.execute("SELECT count(*) FROM history")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            direct.execute("SET lock_timeout = '50ms'; UPDATE users SET first_name = 'late' WHERE id = 1")
        tool.execute("ALTER TABLE users DROP COLUMN first_name")
        tool.commit()
        tool.execute("SELECT 1")  # a transaction that only reads leaves nothing behind
        tool.commit()
    assert manifest(direct) == [("public.users", "columns", 5, 5)]
    assert len(kept_tables(direct)) == 1


def test_back_to_a_savepoint_means_keeping_again(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy:
        with through(proxy) as tool:
            tool.execute("SAVEPOINT a")
            tool.execute("ALTER TABLE users DROP COLUMN first_name")
            tool.execute("ROLLBACK TO SAVEPOINT a")
            tool.execute("ALTER TABLE users DROP COLUMN first_name")
        assert proxy.refusals == ()
    assert manifest(direct) == [("public.users", "columns", 5, 5)]


def test_the_tool_gets_its_own_settings_back(world: str):
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy, through(proxy) as tool:
        tool.execute("SET statement_timeout = '77s'")
        tool.execute("SET LOCAL lock_timeout = '66s'")
        tool.execute("ALTER TABLE users DROP COLUMN first_name")
        for name, value in (("statement_timeout", "77s"), ("lock_timeout", "66s"), ("row_security", "on")):
            assert tool.execute(f"SHOW {name}").fetchone() == (value,)


def test_default_privileges_do_not_open_kept_values(world: str, direct: psycopg.Connection, pg):
    with pg.connect() as admin:
        if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'app'").fetchone():
            admin.execute("CREATE ROLE app")
    direct.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app, PUBLIC")
    with Proxy(policy(FIRST_NAME), Upstream(world)) as proxy, through(proxy) as tool:
        tool.execute("ALTER TABLE users DROP COLUMN first_name")
    (table,) = kept_tables(direct)
    granted = "SELECT has_table_privilege('app', 'backout_kept.' || %s, 'SELECT')"
    assert direct.execute(granted, (table,)).fetchone() == (False,)


def test_every_writing_transaction_begins_with_a_mark(world: str, pg):
    marked = Policy(mark={"incident": "i", "round": 1})
    with Proxy(marked, Upstream(world)) as proxy:
        with through(proxy, autocommit=True) as tool:
            tool.execute("UPDATE users SET name = 'x' WHERE id = 1")
            tool.execute("SELECT 1")
        assert len(proxy.sessions[0].commits) == 1
        assert [s.transaction for s in proxy.sessions[0].statements] == [1, 2]


def test_the_attribute_lists_of_a_rehearsal_are_noted(world: str):
    watching = Policy(watch=("public.users", "public.visits"))
    with Proxy(watching, Upstream(world)) as proxy:
        with through(proxy) as tool:
            tool.execute("ALTER TABLE users DROP COLUMN note")
            tool.execute("DROP TABLE visits")
        (commit,) = proxy.sessions[0].commits
    assert commit.attributes == (
        ("public.users", "first_name text, id integer, name text"),
        ("public.visits", ""),
    )


def test_rows_that_go_before_their_column_does_are_counted_once(world: str, direct: psycopg.Connection):
    with Proxy(policy(FIRST_NAME, USER_ROWS, VISIT_ROWS), Upstream(world)) as proxy:
        with through(proxy) as tool:
            tool.execute("UPDATE users SET first_name = 'x', name = 'y' WHERE id = 7")
            tool.execute("UPDATE users SET name = 'z' WHERE id IN (7, 8)")
            tool.execute("DELETE FROM users WHERE id <= 3")
            tool.execute("ALTER TABLE users DROP COLUMN first_name")
        assert proxy.refusals == ()
    assert manifest(direct) == [
        ("public.users", "columns", 5, 5),
        # three rows with id, name and note, and the names of two others, each once
        ("public.users", "changed rows", 6, 11),
        ("public.visits", "changed rows", 3, 9),
    ]


@pytest.mark.parametrize(
    "down",
    [
        "ALTER TABLE users DROP COLUMN mood, DROP COLUMN word; DROP TYPE own.mood; DROP COLLATION own.plain",
        "DROP TYPE own.mood CASCADE; ALTER TABLE users DROP COLUMN word",
        "UPDATE users SET name = 'x' WHERE id = 1; DROP SCHEMA own CASCADE",
        "DELETE FROM users WHERE id = 1; DROP SCHEMA own CASCADE",
    ],
    ids=["drop type", "drop type cascade", "drop schema cascade", "rows go and then their types"],
)
def test_a_type_that_goes_with_its_column_is_no_obstacle(world: str, direct: psycopg.Connection, down: str):
    """The commonest down there is: a column of an enum goes, and then the enum."""
    direct.execute("CREATE SCHEMA own; CREATE TYPE own.mood AS ENUM ('calm', 'not calm')")
    direct.execute('CREATE COLLATION own.plain FROM "C"')
    direct.execute("ALTER TABLE users ADD mood own.mood, ADD word text COLLATE own.plain")
    direct.execute("UPDATE users SET mood = 'not calm', word = 'w' || id WHERE id < 5")
    kept = keep("public.users", KeepHow.COLUMNS, "mood", "word")
    rows = keep("public.users", KeepHow.CHANGED_ROWS, "name", "first_name", "note", "mood", "word")
    with Proxy(policy(kept, rows, VISIT_ROWS), Upstream(world)) as proxy:
        with through(proxy) as tool:
            for statement in down.split("; "):
                tool.execute(statement)
        assert proxy.refusals == ()
    table = kept_tables(direct)[0]
    query = f"SELECT id, mood, word FROM backout_kept.{table} ORDER BY id"
    assert direct.execute(query).fetchall() == [(n, "not calm", f"w{n}") for n in range(1, 5)]
    assert leftovers(direct) == 0


@pytest.mark.parametrize(
    "down", ["DROP TABLE late", "ALTER TABLE parts DETACH PARTITION late; DROP TABLE late"]
)
def test_a_partition_that_goes_is_kept_with_its_table(world: str, direct: psycopg.Connection, down: str):
    direct.execute("CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)")
    direct.execute("CREATE TABLE early PARTITION OF parts FOR VALUES FROM (0) TO (10)")
    direct.execute("CREATE TABLE late PARTITION OF parts FOR VALUES FROM (10) TO (20)")
    direct.execute("INSERT INTO parts SELECT n, 'v' || n FROM generate_series(1, 15) n")
    whole = keep("public.parts", KeepHow.WHOLE_TABLE, "id", "v")
    with Proxy(policy(whole), Upstream(world)) as proxy:
        with through(proxy) as tool:
            for statement in down.split("; "):
                tool.execute(statement)
        assert proxy.refusals == ()
    assert manifest(direct) == [("public.parts", "whole table", 15, 30)]
