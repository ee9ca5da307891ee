"""What has to be in order before anything is held, and what gives a hold up without an error to a client."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psycopg
import pytest

from backout.plugins import traffic
from backout.postgres.sides import prepared_transactions
from backout.testing.servers import start_server, stop_server
from tests.cutover import operating
from tests.cutover.sides import OWNER, SECRET, SETTINGS, Sides, pooler, sides
from tests.cutover.writers import writing

pytestmark = pytest.mark.slow


def refused(sides: Sides, pool, directory: Path, **more) -> str:
    answer = operating.start(operating.config(sides, pool, directory, **more)).said()
    assert answer["error"]["kind"] == "Refused", answer
    return f"{answer['error']['what']} -> {answer['error']['next']}"


def test_a_client_idle_in_a_transaction_ends_the_attempt_without_an_error_to_anybody(
    pair: Sides, tmp_path: Path
):
    with pooler(pair) as pool, writing(pool.dsn()) as ledger:
        with psycopg.connect(pool.dsn(), prepare_threshold=None) as idle:
            idle.execute("SELECT 1")
            answer = operating.start(operating.config(pair, pool, tmp_path, enter=False)).said()
            assert answer["error"]["kind"] == "Stopped"
            assert "could not be held in 3 tries: client 127.0.0.1:" in answer["error"]["what"]
            idle.execute("SELECT 1")
            idle.commit()
        time.sleep(0.5)
        assert pool.entry()["paused"] == "0"
        assert not ledger.errors
        assert ledger.missing_on(pair.old, pair.database) == set()


def test_pause_waits_for_a_moment_without_a_server_login_or_other_clients_get_an_error(
    pair: Sides, tmp_path: Path
):
    """PAUSE cuts a login in flight; the next query of any client is then refused (server_login_retry)."""
    with pooler(pair) as pool, psycopg.connect(pool.dsn(), prepare_threshold=None, autocommit=True) as other:
        lever = traffic("pgbouncer", operating.config(pair, pool, tmp_path)["options"])
        other.execute("SELECT 1")
        assert lever.hold(5.0).held  # its server connections are closed
        lever.let_go()
        slow_logins(pair, "1s")
        client = threading.Thread(target=one_query, args=(pool.dsn(),))
        try:
            client.start()
            while not any(row["database"] == "app" for row in pool.ask("SHOW SERVERS")):
                time.sleep(0.01)
            held = lever.hold(0.2)
            assert held.blockers == ("server connections that are logging in: 1",)
            lever.let_go()
            other.execute("SELECT 1")
            assert lever.hold(5.0).held
        finally:
            slow_logins(pair, "0")
            lever.let_go()
            lever.close()
            client.join(10)
        other.execute("SELECT 1")


def slow_logins(pair: Sides, delay: str) -> None:
    with pair.old.connect() as admin:
        admin.execute(f"ALTER SYSTEM SET pre_auth_delay = '{delay}'".encode())
        admin.execute("SELECT pg_reload_conf()")
    time.sleep(0.2)


def one_query(dsn: str) -> None:
    with psycopg.connect(dsn, prepare_threshold=None) as session:
        session.execute("SELECT 1")


def test_a_session_mode_pooler_is_refused(pair: Sides, tmp_path: Path):
    with pooler(pair, mode="session") as pool:
        assert "pool mode: pool_mode = session" in refused(pair, pool, tmp_path)


def test_idle_server_connections_are_refused_for_the_first_query_after_resume_would_wait(
    pair: Sides, tmp_path: Path
):
    with pooler(pair, idle=2) as pool:
        assert "idle connections: min_pool_size = 2" in refused(pair, pool, tmp_path)


def test_clients_that_wait_less_than_the_budget_are_refused(pair: Sides, tmp_path: Path):
    with pooler(pair) as pool:
        options = {**operating.config(pair, pool, tmp_path)["options"], "budget_ms": 60_000}
        assert "clients wait: query_wait_timeout = 60 s" in refused(pair, pool, tmp_path, options=options)
    with pooler(pair, wait=0) as pool:  # 0 = for ever
        lever = traffic("pgbouncer", operating.config(pair, pool, tmp_path)["options"])
        checks = lever.checks()
        lever.close()
        assert all(check.good for check in checks), checks


def test_a_prepared_transaction_survives_every_fence_and_is_refused(tmp_path: Path):
    server = start_server(16, settings={**SETTINGS, "max_prepared_transactions": "2"})
    try:
        with server.database() as name, server.connect(name) as session:
            assert prepared_transactions(session, name) == 0
            session.execute("CREATE TABLE t (a int)")
            session.execute("BEGIN")
            session.execute("INSERT INTO t VALUES (1)")
            session.execute("PREPARE TRANSACTION 'orphan'")
            assert prepared_transactions(session, name) == 1
            session.execute("ROLLBACK PREPARED 'orphan'")
    finally:
        stop_server(server)


def test_the_fence_is_refused_when_it_cannot_be_opened_from_another_database(pair: Sides, tmp_path: Path):
    with pooler(pair) as pool:
        made = operating.config(pair, pool, tmp_path, watch=0.0)
        made["logins"]["old_elsewhere"] = made["logins"]["old"]
        answer = operating.start(made).said()
        assert "unfence: the fence would lock out the session" in answer["error"]["what"]


def test_a_role_without_rights_is_refused_in_the_server_s_words(pair: Sides, tmp_path: Path):
    with pooler(pair) as pool:
        made = operating.config(pair, pool, tmp_path, watch=0.0)
        made["logins"]["old_elsewhere"] = pair.old.dsn("postgres", "clerk", SECRET)
        answer = operating.start(made).said()
        assert "must be owner of database" in answer["error"]["what"]


def test_an_application_that_is_a_superuser_is_refused(pair: Sides, tmp_path: Path):
    with pooler(pair) as pool:
        made = operating.config(pair, pool, tmp_path, watch=0.0)
        made["logins"]["old_application"] = made["logins"]["old"]
        answer = operating.start(made).said()
        assert "application: its role is a superuser" in answer["error"]["what"]


def test_an_application_that_the_new_side_does_not_let_in_is_refused(pair: Sides, tmp_path: Path):
    with pair.new.connect() as admin:
        admin.execute("ALTER ROLE clerk NOLOGIN")
    try:
        with pooler(pair) as pool:
            assert "application:" in refused(pair, pool, tmp_path, watch=0.0)
    finally:
        with pair.new.connect() as admin:
            admin.execute("ALTER ROLE clerk LOGIN")


@pytest.mark.parametrize("major", [15, 18])
def test_the_plain_owner_of_the_database_can_do_it_all(major: int, tmp_path: Path):
    """`CONNECTION LIMIT 0` locks the owner out of the database: every undo goes through another one."""
    with sides(major) as both, pooler(both) as pool:
        with writing(pool.dsn()) as ledger:
            made = operating.config(both, pool, tmp_path, role=OWNER, follow=None)
            done = operating.cut_over(made)
            time.sleep(0.5)
            with pytest.raises(psycopg.OperationalError, match="too many connections for database"):
                psycopg.connect(both.old.dsn(both.database, OWNER, SECRET))
        assert done["complete"], done["proof"]
        assert not ledger.errors
        assert ledger.missing_on(both.new, both.database) == set()
