"""Application, ledger and ETL of the demo, each as the process that it is, on a real server."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path

from backout.demo import reckoning
from backout.demo.place import Place
from backout.demo.world import control
from backout.demo.world.ledger import Ledger, entries
from backout.demo.world.production import Production
from tests.demo.worlds import DOWN, UP, at_work, execute, say, wait_for


def test_the_role_owns_its_schema_and_nothing_else(calm: Production) -> None:
    found = execute(
        calm,
        """SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,
                  has_database_privilege(current_database(), 'CREATE'),
                  (SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'public')
           FROM pg_roles WHERE rolname = current_user""",
    )
    assert found == [(False, False, False, False, False, False, "heroes")]
    assert calm.port < 32768
    assert execute(calm, "SHOW synchronous_commit") == [("on",)]
    assert calm.password not in repr(calm.layout)


def test_both_versions_write_through_up_and_down_without_a_client_error(
    calm: Production, place: Place
) -> None:
    with at_work(place, calm, "application") as processes:
        wait_for(place.control, "application.json", "acknowledged", 20)
        execute(calm, UP)
        assert say("deploy", "v42", str(place.control)).returncode == 0
        wait_for(place.control, "application.json", "acknowledged", 60)
        said = say("deploy", "v41", str(place.control))
        assert said.stdout == "application: every client runs v41\n"
        before = control.read(place.control / "application.json")["acknowledged"]
        execute(calm, DOWN)
        wait_for(place.control, "application.json", "acknowledged", before + 20)
        processes.end("application")
    written = reckoning.read(place.ledger)
    with calm.session() as session:
        found = reckoning.look(session, written, "inc-none")
    assert (written.client_errors, found.lost_writes, found.doubled_writes) == (0, 0, 0)
    assert written.acknowledged == control.read(place.control / "application.json")["acknowledged"]
    assert written.filled, "v42 writes into the new columns"
    assert set(reckoning.by_version(place.ledger)) == {"v41", "v42"}


def test_a_killed_application_leaves_no_acknowledged_write_behind(calm: Production, place: Place) -> None:
    with at_work(place, calm, "application") as processes:
        wait_for(place.control, "application.json", "acknowledged", 20)
        record = control.read(place.processes / "application.json")
        os.kill(record["pid"], signal.SIGKILL)
        assert control.wait_until(lambda: not processes.lives("application"), 5)
    written = reckoning.read(place.ledger)
    with calm.session() as session:
        found = reckoning.look(session, written, "inc-none")
    assert written.acknowledged >= 20
    assert (found.lost_writes, found.doubled_writes) == (0, 0)


def test_the_reckoning_sees_lost_and_doubled_writes(calm: Production, place: Place) -> None:
    with at_work(place, calm, "application"):
        wait_for(place.control, "application.json", "acknowledged", 40)
    execute(
        calm,
        """DELETE FROM hero_snapshots WHERE id = (SELECT min(id) FROM hero_snapshots WHERE payload ? 'nonce');
           INSERT INTO hero_snapshots (user_id, payload, power)
             SELECT user_id, payload, power FROM hero_snapshots ORDER BY id DESC LIMIT 2;
           UPDATE users SET seen = seen - 1 WHERE id = (SELECT min(id) FROM users WHERE seen > 0)""",
    )
    with calm.session() as session:
        found = reckoning.look(session, reckoning.read(place.ledger), "inc-none")
    assert (found.lost_writes, found.doubled_writes) == (2, 2)


def test_health_and_profiles_are_asked_from_the_database(calm: Production, place: Place) -> None:
    base = f"http://127.0.0.1:{calm.http_port}"
    with at_work(place, calm, "application"):
        wait_for(place.control, "application.json", "reads", 1)
        with urllib.request.urlopen(f"{base}/api/health", timeout=5) as answer:
            assert (answer.status, json.load(answer)["status"]) == (200, "ok")
        with urllib.request.urlopen(f"{base}/api/profile/7", timeout=5) as answer:
            assert json.load(answer)["user_id"] == 7
    assert reckoning.read(place.ledger).client_errors == 0


def test_the_etl_fails_loudly_at_the_constraint_and_loses_no_job(calm: Production, place: Place) -> None:
    directory = str(place.control)
    execute(calm, UP)
    rows = """SELECT n, '{"power": 5}' FROM generate_series(1, 300) n"""
    execute(calm, f"INSERT INTO hero_snapshots (user_id, payload) {rows}")
    with at_work(place, calm, "etl") as processes:
        seen = lambda: control.read(place.control / "etl.json").get("errors", {})  # noqa: E731
        assert control.wait_until(lambda: seen().get("23514", 0) >= 2, 15)
        assert "ERROR 23514" in processes.log("etl").read_text()
        assert say("etl", "pause", directory).stdout.startswith("paused, 0 processed")
        failures = seen()["23514"]
        execute(calm, DOWN)
        assert seen()["23514"] == failures, "a paused ETL touches nothing"
        assert say("etl", "continue", directory).returncode == 0
        wait_for(place.control, "etl.json", "processed", 300)
        assert say("etl", "state", directory).stdout.startswith("running, 300 processed")
    assert execute(calm, "SELECT count(*) FROM hero_snapshots WHERE processed_at IS NULL") == [(0,)]
    total = "SELECT sum(snapshots)::int, (SELECT count(*)::int FROM hero_snapshots) FROM profile_summaries"
    assert execute(calm, total) == [(20_300, 20_300)]


def test_a_dead_etl_is_told_apart_from_a_paused_one(place: Place) -> None:
    for file in place.control.glob("etl*.json"):
        file.unlink()
    state = say("etl", "state", str(place.control))
    assert (state.returncode, state.stderr) == (1, "etl: no worker answers\n")


def test_a_torn_line_was_never_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"kind": "begin", "client": 0, "at": 1.0}\n{"kind": "vis')
    assert [entry["kind"] for entry in entries(path)] == ["begin"]
    ledger = Ledger(path)
    ledger.write({"kind": "error", "client": 0})
    ledger.close()
    assert [entry["kind"] for entry in entries(path)] == ["begin", "error"]


def test_the_longest_gap_is_one_that_a_client_saw_inside_the_window() -> None:
    written = reckoning.Written(runs=[[1.0, 1.1, 1.9, 2.0], [5.0, 9.0], [0.2, 1.3, 1.4]])
    assert reckoning.longest_gap_ms(written, 1.5, 2.5) == 800
    assert reckoning.longest_gap_ms(written, 1.0, 2.5) == 1100, "a gap that began before counts whole"
    assert reckoning.longest_gap_ms(written, 2.1, 4.0) == 0, "before an application began nobody waited"
