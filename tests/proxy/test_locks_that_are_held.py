"""Which locks a transaction held when it committed, as the server showed them."""

from __future__ import annotations

import psycopg

from backout.postgres.proxy.policy import Policy
from backout.postgres.proxy.seen import SeenCommit
from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream
from tests.proxy.helpers import through
from tests.proxy.world import FIRST_NAME, make, policy


def _commit(dsn: str, wanted: Policy, *statements: str) -> SeenCommit:
    make(dsn)
    with Proxy(wanted, Upstream(dsn)) as proxy:
        with through(proxy) as tool:
            for statement in statements:
                tool.execute(statement.encode())
        assert proxy.refusals == ()
        (commit,) = proxy.sessions[0].commits
    return commit


def _held(direct: psycopg.Connection, commit: SeenCommit) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for lock in commit.locks:
        row = direct.execute("SELECT relname FROM pg_class WHERE oid = %s", (lock.oid,)).fetchone()
        found.setdefault(row[0] if row else "gone", []).append((lock.mode, lock.seconds))
    return found


def test_each_lock_counts_from_the_statement_that_took_it(dsn: str, direct: psycopg.Connection):
    commit = _commit(
        dsn,
        policy(),
        "ALTER TABLE visits ADD CHECK (id > 0)",
        "SELECT pg_sleep(0.2)",
        "CREATE INDEX ON users (name)",
        "SELECT pg_sleep(0.1)",
        "DELETE FROM history WHERE id = 2",
    )
    held = _held(direct, commit)
    ((mode, visits),) = held["visits"]
    assert (mode, visits >= 0.3) == ("ACCESS EXCLUSIVE", True)
    assert held["users"][0][0] == "SHARE"
    assert 0.1 <= held["users"][0][1] < visits
    assert [mode for mode, _ in held["history"]] == ["ROW EXCLUSIVE"]
    assert commit.lock_seconds == visits


def test_a_table_that_is_kept_is_locked_by_us_from_the_moment_it_is_granted(
    dsn: str, direct: psycopg.Connection
):
    statements = ("ALTER TABLE users DROP COLUMN first_name", "SELECT pg_sleep(0.1)")
    commit = _commit(dsn, policy(FIRST_NAME), *statements)
    ((mode, seconds),) = _held(direct, commit)["users"]
    assert (mode, seconds >= 0.1) == ("ACCESS EXCLUSIVE", True)


def test_rows_alone_stop_nobody_elses_writes(dsn: str, direct: psycopg.Connection):
    commit = _commit(dsn, policy(), "INSERT INTO history VALUES (3, '003')")
    assert [mode for mode, _ in _held(direct, commit)["history"]] == ["ROW EXCLUSIVE"]
    assert commit.lock_seconds == 0.0
