"""What stands in the way at 3 a.m.: readers, later migrations, broken downs, values that cannot fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backout.app import incidents
from backout.app.desk import Desk
from backout.app.results import Proposed
from backout.errors import LockNotGranted, Refused
from backout.model.execution import Outcome
from backout.model.loss import DestroyedBy
from backout.model.plan import Verdict
from tests.story.harness import World, names_world

pytestmark = pytest.mark.slow

ADD_SOURCE = "ALTER TABLE users ADD COLUMN source text;"
DROP_SOURCE = "ALTER TABLE users DROP COLUMN source;"


def source_world(made: World) -> None:
    """An additive migration into which the application has written ten values."""
    names_world(made)
    made.migration("20240201000000_source", ADD_SOURCE, DROP_SOURCE)
    (made.root / "migrations" / "20240201000000_first_name.sql").unlink()
    made.applied("20240201000000", ADD_SOURCE)
    with made.connect() as session:
        session.execute("UPDATE users SET source = 'web' WHERE id <= 10")


def proposed(made: World, *names: str) -> tuple[str, Proposed]:
    incident = made.open(*names)
    return incident, incidents.propose(made.desk(), incident)


def test_a_reader_in_the_way_is_waited_for_in_short_tries_and_nothing_changes(heroes16: World):
    source_world(heroes16)
    text = (heroes16.root / "backout.toml").read_text()
    (heroes16.root / "backout.toml").write_text(text + "[budgets]\nlock_patience = '2s'\n")
    incident, _ = proposed(heroes16)
    heroes16.approve(incident)
    desk: Desk = heroes16.desk()
    with heroes16.connect() as reader:
        reader.autocommit = False
        reader.execute("SELECT count(*) FROM users")
        with pytest.raises(LockNotGranted) as caught:
            incidents.run(desk, incident, {}, 0)
        assert "resume" in caught.value.next
        assert any("held by pid" in said for said in desk.teller.said)  # type: ignore[attr-defined]
        assert heroes16.one("SELECT count(source) FROM users") == 10
        assert heroes16.one("SELECT count(*) FROM backout_kept.manifest") == 0
        reader.rollback()
    ran = incidents.resume(heroes16.desk(), incident, 0)
    assert (ran.execution.outcome, ran.execution.values_kept) == (Outcome.BACKED_OUT, 10)


def test_the_tries_for_a_lock_are_counted_where_they_have_a_budget(heroes16: World):
    source_world(heroes16)
    config = heroes16.root / "backout.toml"
    config.write_text(config.read_text() + "[budgets]\nlock_attempts = 2\n")
    incident, _ = proposed(heroes16)
    heroes16.approve(incident)
    with heroes16.connect() as reader:
        reader.autocommit = False
        reader.execute("SELECT count(*) FROM users")
        with pytest.raises(LockNotGranted, match="in 2 tries: no more are allowed"):
            incidents.run(heroes16.desk(), incident, {}, 0)
        reader.rollback()
    ran = incidents.resume(heroes16.desk(), incident, 0)
    assert (ran.execution.outcome, ran.execution.values_kept) == (Outcome.BACKED_OUT, 10)


def test_a_down_whose_kept_values_need_more_disk_than_allowed_is_refused_with_the_figure(heroes16: World):
    source_world(heroes16)
    config = heroes16.root / "backout.toml"
    before = config.read_text()
    config.write_text(before + "[budgets]\ndisk = '20kB'\n")
    _, found = proposed(heroes16)
    option = found.proposals.options[0]
    assert option.verdict is Verdict.REFUSED
    assert "on the target's disk, WAL included; budgets.disk is 20,000" in option.reason


def test_values_that_came_after_the_rehearsal_do_not_outgrow_the_disk(heroes16: World):
    source_world(heroes16)
    config = heroes16.root / "backout.toml"
    before = config.read_text()
    config.write_text(before + "[budgets]\ndisk = '100kB'\n")
    incident, found = proposed(heroes16)
    assert 0 < found.rehearsals[0].kept_bytes <= 50_000
    heroes16.approve(incident)
    with heroes16.connect() as session:
        session.execute("UPDATE users SET source = repeat('w', 200)")
    with pytest.raises(Refused, match=r"keeping needs .* budgets\.disk is 100,000") as caught:
        incidents.run(heroes16.desk(), incident, {}, 0)
    assert "raise budgets.disk" in caught.value.next
    assert heroes16.one("SELECT count(source) FROM users") == 1000
    assert heroes16.one("SELECT count(*) FROM backout_kept.manifest") == 0


def test_the_migration_below_the_newest_shows_what_goes_with_it(heroes: World):
    source_world(heroes)
    heroes.migration(
        "20240301000000_badges",
        "CREATE TABLE badges (id int PRIMARY KEY, name text);",
        "DROP TABLE badges;",
    )
    heroes.applied("20240301000000", "CREATE TABLE badges (id int PRIMARY KEY, name text)")
    with heroes.connect() as session:
        session.execute("INSERT INTO badges SELECT i, 'b' || i FROM generate_series(1, 7) i")
    incident, found = proposed(heroes, "20240201000000")
    assert found.triage.collateral == ("20240301000000",)
    by_migration = {
        loss.migration: loss.values.count
        for loss in found.rehearsals[0].losses
        if loss.by is DestroyedBy.DOWN and loss.values.count
    }
    assert by_migration == {"20240301000000": 14, "20240201000000": 10}
    heroes.approve(incident, strategy="A")
    ran = incidents.run(heroes.desk(), incident, {}, 0)
    assert (ran.execution.values_destroyed, ran.execution.values_kept) == (24, 24)
    assert heroes.one("SELECT to_regclass('public.badges')") is None


@pytest.mark.parametrize(
    ("name", "up", "write", "down", "words"),
    [
        (
            "narrowing back",
            "ALTER TABLE users ALTER COLUMN email TYPE text;",
            "UPDATE users SET email = repeat('x', 300) WHERE id = 1",
            "ALTER TABLE users ALTER COLUMN email TYPE varchar(50);",
            "22001",
        ),
        (
            "tightening back",
            "ALTER TABLE users ALTER COLUMN email DROP NOT NULL;",
            "UPDATE users SET email = NULL WHERE id = 1",
            "ALTER TABLE users ALTER COLUMN email SET NOT NULL;",
            "23502",
        ),
        ("a down that never ran", ADD_SOURCE, "SELECT 1", "ALTER TABLE user DROP COLUMN sourc;", "42"),
    ],
)
def test_a_down_that_cannot_run_is_refused_with_the_servers_reason(
    heroes16: World, name: str, up: str, write: str, down: str, words: str
):
    names_world(heroes16)
    (heroes16.root / "migrations" / "20240201000000_first_name.sql").unlink()
    heroes16.migration("20240201000000_bad", up, down)
    heroes16.applied("20240201000000", up)
    with heroes16.connect() as session:
        session.execute(write)
    _, found = proposed(heroes16)
    option = found.proposals.options[0]
    assert option.verdict is Verdict.REFUSED, name
    assert words in option.reason, name
    assert not found.proposals.proposals


@pytest.mark.parametrize(
    ("down", "kept", "rows_back"),
    [
        ("DELETE FROM users WHERE id <= 100;", 200, 100),
        ("TRUNCATE users;", 2000, 1000),
        ("UPDATE users SET email = 'gone';", 1000, 0),
    ],
    ids=["delete", "truncate", "update"],
)
def test_rows_that_a_down_takes_are_kept(
    heroes: World, down: str, kept: int, rows_back: int, capsys: pytest.CaptureFixture[str]
):
    names_world(heroes)
    (heroes.root / "migrations" / "20240201000000_first_name.sql").unlink()
    heroes.migration("20240201000000_harmless", "SELECT 1;", down)
    heroes.applied("20240201000000", "SELECT 1")
    heroes.floor = 0
    heroes.write_config()
    incident, found = proposed(heroes)
    # `users` holds id, full_name and email: the key is not a value that goes with a changed cell
    destroyed = sum(loss.values.count or 0 for loss in found.rehearsals[0].losses)
    assert destroyed >= kept
    assert found.proposals.options[0].verdict in (Verdict.RECOMMENDED, Verdict.POSSIBLE), (
        found.proposals.options
    )
    heroes.approve(incident, strategy="A")
    ran = incidents.run(heroes.desk(), incident, {}, 0)
    assert ran.execution.values_destroyed == ran.execution.values_kept == destroyed
    assert heroes.one("SELECT count(*) FROM users") == 1000 - rows_back
    signed = ("--as", "priya.raman", "--key", str(heroes.keys["priya.raman"]), "--confirm", "heroes")
    way = ("--rows", "users") if rows_back else ("--column", "email", "--overwrite")
    code, document, err = heroes.cli(capsys, "kept", "put-back", incident, *way, *signed)
    assert code == 0, (document, err)
    assert document["written"] == (rows_back or 1000)
    assert (
        heroes.one("SELECT count(*) FROM users WHERE full_name = 'name ' || id AND email = id || '@x'")
        == 1000
    )


def test_what_was_predicted_is_what_went_when_nobody_wrote_in_between(heroes16: World):
    source_world(heroes16)
    incident, found = proposed(heroes16)
    heroes16.approve(incident)
    ran = incidents.run(heroes16.desk(), incident, {}, 0)
    predicted = sum(loss.values.count or 0 for loss in found.rehearsals[0].losses)
    assert ran.execution.values_destroyed == predicted
    assert replace(ran.execution, seconds=0.0).how == "executed"


def test_a_down_that_drops_a_partition_keeps_that_partition(heroes16: World):
    names_world(heroes16)
    (heroes16.root / "migrations" / "20240201000000_first_name.sql").unlink()
    with heroes16.connect() as session:
        session.execute("CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)")
        session.execute("CREATE TABLE early PARTITION OF parts FOR VALUES FROM (0) TO (10)")
        session.execute("INSERT INTO parts SELECT n, 'v' FROM generate_series(1, 9) n")
    late = "CREATE TABLE late PARTITION OF parts FOR VALUES FROM (10) TO (20);"
    heroes16.migration("20240201000000_late", late, "DELETE FROM parts WHERE id = 1; DROP TABLE late;")
    heroes16.applied("20240201000000", late)
    with heroes16.connect() as session:
        session.execute("INSERT INTO parts SELECT n, 'v' FROM generate_series(10, 15) n")
    incident, found = proposed(heroes16)
    assert found.proposals.recommended == "A", found.proposals.options
    heroes16.approve(incident)
    ran = incidents.run(heroes16.desk(), incident, {}, 0)
    assert (ran.execution.values_destroyed, ran.execution.values_kept) == (14, 14)
    assert heroes16.one("SELECT count(*) FROM parts") == 8
