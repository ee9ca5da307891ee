"""A calm Tuesday, or a table that is gone: a backup becomes a new instance, tested, and is handed over."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from backout.cli import command_line
from backout.postgres import servers
from backout.postgres.binaries import client_for
from tests.restore.places import BAD, ROWS, Place, checks, count

pytestmark = pytest.mark.slow


@pytest.mark.proves(
    claim="A base backup becomes a new instance just before a migration, tested and handed over",
    on="base backup and archived WAL, one machine, loopback",
    rights="plain owner",
    versions="16, 18",
    size="some hundred rows",
)
def test_the_state_before_a_migration_comes_back_beside_the_production(place: Place):
    older = place.take()
    place.write(20)
    place.made.applied("20240201000000", BAD)
    place.write(3)
    answer = place.restored("--before-migration", "20240201000000")
    choice = answer["choice"]
    assert (choice["backup"], choice["database"]) == (older, place.made.database)
    assert count(answer, "issues") == ROWS + 20
    assert place.made.one("SELECT count(*) FROM issues") == 3, "production was only read"
    assert set(checks(answer).values()) <= {"pass", "warn"}, answer["smoked"]
    assert checks(answer)["schema"] == "pass"
    assert checks(answer)["unique keys"] == checks(answer)["foreign keys"] == "pass"
    assert checks(answer, "handed")["durable"] == checks(answer, "handed")["isolated"] == "pass"
    assert "password" not in answer["handed"]["connection"]
    with psycopg.connect(answer["handed"]["connection"]) as session:
        estimated = session.execute("SELECT reltuples FROM pg_class WHERE relname = 'issues'").fetchone()
    assert estimated == (ROWS + 20,), "ANALYZEd"


def test_it_is_listed_with_its_lease_and_dropped_by_its_verb(place16: Place):
    place16.take()
    answer = place16.restored()
    name = answer["restored"]["instance"]
    (line,) = place16.typed("copies")[1]["instances"]
    assert (line["name"], line["lease_until"]) == (name, answer["handed"]["lease_until"])
    assert datetime.fromisoformat(line["lease_until"]) > datetime.now(UTC)
    assert [one["name"] for one in place16.typed("copies", "--destroy-expired")[1]["instances"]] == [name]
    assert place16.typed("copies", "--destroy", name)[1]["instances"] == []


def test_the_plan_says_what_where_and_how_long_and_begins_nothing(place16: Place):
    place16.take()
    place16.write(5)
    at = place16.position()
    place16.write(5)
    place16.take()
    code, planned, _ = place16.typed("restore", "--to", at, "--plan")
    assert (code, planned["outcome"], planned["id"]) == (0, "planned", "")
    newer, chosen = planned["choice"]["offers"]
    assert newer["why_not"].startswith("newer than the point: whole from ")
    assert chosen["why_not"] == ""
    assert planned["choice"]["eta_seconds"] is None, "nothing was restored here yet"
    assert planned["choice"]["free_bytes"] > planned["choice"]["need_bytes"] > 0
    assert not [i for i in place16.made.desk().app.journal.incidents() if i.startswith("rst-")]
    assert count(place16.restored("--to", at), "issues") == ROWS + 5
    again = place16.typed("restore", "--to", at, "--plan")[1]
    assert again["choice"]["eta_seconds"] > 0, "by the rate that was measured"


def test_each_way_to_say_a_point_leads_to_an_exact_place_in_the_wal(place16: Place):
    first = place16.take()
    place16.write(1)
    between = place16.made.one("SELECT clock_timestamp()::text")
    place16.write(1)

    def target(*words: str) -> dict[str, Any]:
        code, planned, err = place16.typed("restore", "--plan", *words)
        assert code == 0, (planned, err)
        return dict(planned["choice"]["target"])

    of_time, newest = target("--to-time", str(between)), target()
    assert (of_time["kind"], newest["kind"]) == ("twin_before", "twin_after")
    assert of_time["commit"] == newest["commit"], "before the second commit, and after it"
    assert target("--to", place16.position()) == newest, "the end of the WAL is the newest state"
    assert target("--at-backup", first)["backup"] == first


@pytest.mark.soak
def test_a_time_ends_at_a_commit_and_the_newest_state_is_everything(place16: Place):
    first = place16.take()
    place16.write(1)
    between = place16.made.one("SELECT clock_timestamp()::text")
    place16.write(1)
    earlier = place16.restored("--to-time", str(between))
    assert count(earlier, "issues") == ROWS + 1
    assert count(place16.restored(), "issues") == ROWS + 2
    assert count(place16.restored("--at-backup", first), "issues") == ROWS


@pytest.mark.proves(
    claim="A dump becomes a durable instance of its own",
    on="one machine, loopback",
    rights="plain owner",
    versions="16, 18",
    size="some hundred rows",
)
def test_a_dump_becomes_a_durable_instance_of_its_own(place: Place):
    identifier = place.snapshot()
    place.made.applied("20240201000000", BAD)
    answer = place.restored("--snapshot", identifier)
    assert count(answer, "issues") == ROWS
    assert checks(answer)["counts"] == "pass", "the manifest knows every row"
    assert checks(answer)["schema"] == "pass"
    with psycopg.connect(answer["handed"]["connection"]) as session:
        shown = session.execute(
            "SELECT current_setting('fsync'), current_setting('listen_addresses'), current_database(),"
            " (SELECT tableowner FROM pg_tables WHERE tablename = 'users'),"
            " (SELECT count(*) FROM backout.copy_marker)"
        ).fetchone()
    assert shown == ("on", "", place.made.database, "t_owner", 1)


@pytest.mark.soak
def test_a_dump_of_somebody_else_becomes_an_instance_called_like_the_source(place16: Place):
    file = place16.made.root / "last-night.sql"
    program = client_for(16).program("pg_dump")
    file.write_text(
        subprocess.run([program, place16.made.dsn], check=True, capture_output=True, text=True).stdout
    )
    place16.write(4)
    code, taken, err = place16.typed("snapshot", "adopt", str(file))
    assert code == 0, err
    answer = place16.restored("--snapshot", taken["snapshot"]["id"])
    assert count(answer, "issues") == ROWS
    assert (checks(answer)["counts"], answer["choice"]["database"]) == ("pass", place16.made.database)
    file.write_text("-- another file")
    assert "not the backup any more" in place16.refused("--snapshot", taken["snapshot"]["id"])["what"]


def test_without_a_backup_tool_the_newest_snapshot_is_taken(place16: Place):
    config = place16.made.root / "backout.toml"
    config.write_text(config.read_text().split("[target.heroes.backups]")[0])
    place16.snapshot()
    newest = place16.snapshot()
    answer = place16.restored()
    assert answer["choice"]["backup"] == newest
    assert place16.typed("copies")[1]["instances"][0]["name"] == answer["restored"]["instance"]


def test_a_lost_production_is_restored_from_what_is_archived(alone16: Place):
    alone16.take()
    alone16.write(2)
    alone16.prod.settle()
    identifier = alone16.snapshot()
    layout = alone16.prod.server.layout
    servers.stop(layout)
    try:
        answer = alone16.restored()
        of_dump = alone16.restored("--snapshot", identifier)
        refused = alone16.refused("--before-migration", "20240101000000")
    finally:
        servers.start(layout)
    assert answer["choice"]["source"] == f"{alone16.made.database}, which does not answer"
    assert count(answer, "issues") == count(of_dump, "issues") == ROWS + 2
    assert checks(answer)["schema"] == "warn" and checks(of_dump)["counts"] == "pass"
    assert "the source does not answer, and its history" in refused["what"]


@pytest.mark.soak
def test_the_screen_ends_with_the_way_in_and_the_end_of_the_lease(place16: Place):
    place16.take()
    place16.capsys.readouterr()
    assert command_line(["restore", "--config", str(place16.made.root / "backout.toml")]) == 0
    shown = place16.capsys.readouterr().out
    assert "  connect    psql \"host='/tmp/bk-" in shown
    assert "lease ends" in shown
    assert "next: backout copies --destroy rst-" in shown or "then: backout copies --destroy rst-" in shown
