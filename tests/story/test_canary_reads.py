"""Gradual traffic shift: readers try the restored side first, then all writes move at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backout.app import incidents
from backout.errors import Stopped
from backout.model.check import Check
from backout.postgres import readers
from tests.story.anew import Shop, Writers, shop
from tests.story.harness import in_background
from tests.story.test_killed import backout
from tests.story.test_restore_and_cut_over import armed, nothing_is_lost, propose, run

pytestmark = pytest.mark.slow


@pytest.fixture
def with_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with shop(16, tmp_path, monkeypatch) as made:
        config = made.made.root / "backout.toml"
        config.write_text(
            config.read_text().replace('lever = "pgbouncer"', 'lever = "pgbouncer"\ncanary = "6s"')
        )
        yield made


def connection_string(shop: Shop, stop: threading.Event) -> str:
    """As the person reads it who points an instance there."""
    while not stop.wait(0.2):
        for file in shop.made.state.rglob("*.canary"):
            assert file.stat().st_mode & 0o077 == 0
            if dsn := file.read_text().strip():
                return dsn
    raise AssertionError("readers were never let in")


def refused(session: psycopg.Connection, statement: str) -> str:
    with pytest.raises(psycopg.Error) as told:
        session.execute(statement.encode())
    return str(told.value)


@pytest.mark.proves(
    claim="Readers may try the restored side before traffic moves, and cannot write there",
    on="base backup, archived WAL, PgBouncer, one machine, loopback",
    rights="plain owner of the database with REPLICATION",
    versions="16",
    size="8 writers, 2,300 rows",
)
def test_readers_see_the_writes_come_over_and_cannot_write_then_all_writes_move(with_readers: Shop, capsys):
    made = with_readers.made
    armed(made, capsys)
    with with_readers.prod.connect() as admin:
        admin.execute("ALTER ROLE clerk SET search_path = public, pg_catalog")
    writers = Writers(with_readers)
    with_readers.migrate()
    incident = made.open()
    option, of_b = propose(made, incident)
    assert "canary reads for 6" in option.reason
    made.approve(incident, strategy="B", accepts=of_b.accept_by_name)
    seen: list[int] = []
    denied: list[str] = []

    def canary_instance(stop: threading.Event) -> None:
        dsn = connection_string(with_readers, stop)
        with psycopg.connect(dsn, autocommit=True) as session:
            assert session.execute("SHOW search_path").fetchone() == ("public, pg_catalog",)
            denied.append(refused(session, "INSERT INTO users (name) VALUES ('split brain')"))
            session.execute("SET default_transaction_read_only = off")
            denied.append(refused(session, "INSERT INTO users (name) VALUES ('split brain')"))
            while not stop.wait(0.3):
                try:
                    row = session.execute("SELECT sum(version)::int FROM issues").fetchone()
                except psycopg.OperationalError:
                    return  # the time is over
                assert row is not None
                seen.append(row[0])

    with in_background(canary_instance):
        ran = run(made, incident)
    time.sleep(1)
    ledger = writers.stop()
    assert ledger.errors == []
    assert "read-only transaction" in denied[0] and "permission denied" in denied[1], denied
    assert seen[-1] > seen[0], "the writes came over all the while"
    assert ran.anew is not None and ran.anew.canary_reads is not None
    tried = ran.anew.canary_reads
    assert tried.sessions >= 1 and tried.seconds >= 6 and all(check.good for check in tried.checks), tried
    nothing_is_lost(with_readers, ledger)
    with with_readers.on_new() as session:
        there = session.execute(
            "SELECT count(*) FROM pg_roles WHERE rolname = %s", (readers.ROLE,)
        ).fetchone()
    assert there == (0,), "the readers are gone before anybody writes there"
    assert list(made.state.rglob("*.canary")) == []


def test_a_check_that_fails_on_the_restored_side_stops_before_anything_moves(with_readers: Shop, capsys):
    made = with_readers.made
    config = made.root / "backout.toml"
    table = '[target.heroes.checks.table]\nregclass = "public.users"'
    config.write_text(
        config.read_text().replace(table, f'{table}\n[target.heroes.checks.plans]\nregclass = "public.plans"')
    )
    armed(made, capsys)
    writers = Writers(with_readers)
    with_readers.migrate()
    incident = made.open()
    _, of_b = propose(made, incident)
    made.approve(incident, strategy="B", accepts=of_b.accept_by_name)
    with pytest.raises(Stopped, match="on the restored side plans fails") as told:
        incidents.run(made.desk(), incident, {}, 0)
    assert "traffic stays where it is" in told.value.intact
    incidents.canary_for(made.desk(), incident, 0.0)
    ran = run(made, incident)
    assert ran.anew is not None and ran.anew.canary_reads is None
    assert [c.name for c in ran.verification.checks if _fails(c)] == ["plans"], (
        "and it is said at the end too"
    )
    ledger = writers.stop()
    assert ledger.errors == []
    nothing_is_lost(with_readers, ledger)


def test_readers_of_a_killed_run_are_dismissed_by_one_that_lets_none_in(with_readers: Shop, capsys):
    made = with_readers.made
    armed(made, capsys)
    with_readers.migrate()
    incident = made.open()
    _, of_b = propose(made, incident)
    made.approve(incident, strategy="B", accepts=of_b.accept_by_name)
    process = backout(made, "run", incident, "--watch", "0")
    connection_string(with_readers, threading.Event())
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    incidents.canary_for(made.desk(), incident, 0.0)
    ran = run(made, incident)
    assert ran.anew is not None and ran.anew.canary_reads is None
    assert list(made.state.rglob("*.canary")) == []
    with with_readers.on_new() as session:
        there = session.execute(
            "SELECT count(*) FROM pg_roles WHERE rolname = %s", (readers.ROLE,)
        ).fetchone()
    assert there == (0,)


def _fails(check: Check) -> bool:
    return check.state.value == "fail"
