"""The runbook's story on real servers: from the alert to the resolution, as a plain schema owner."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backout.app import incidents
from backout.cli import command_line
from backout.errors import ApprovalVoid, ConfigurationError, Refused, Waiting
from backout.model.check import CheckState
from backout.model.execution import Outcome
from backout.model.journal import EntryKind
from backout.model.loss import Basis, DestroyedBy
from backout.model.plan import Verdict
from backout.render.layout import Style
from backout.render.screens import propose_screen
from tests.story.harness import World, apply_names, names_world

pytestmark = pytest.mark.slow

LOST_BY_UP = ("users.full_name",)


@pytest.fixture
def names(heroes: World) -> World:
    names_world(heroes)
    apply_names(heroes)
    return heroes


def test_the_loss_is_told_exactly_before_anybody_approves(names: World):
    incident = names.open()
    proposed = incidents.propose(names.desk(), incident)
    losses = {(loss.by, loss.object, loss.column): loss for loss in proposed.rehearsals[0].losses}
    down = losses[DestroyedBy.DOWN, "public.users", "first_name"]
    assert (down.values.count, down.values.basis, down.kept) == (1001, Basis.EXACT, True)
    up = losses[DestroyedBy.UP, "public.users", "full_name"]
    assert up.values.basis is Basis.UNKNOWN
    option = proposed.proposals.options[0]
    assert option.verdict is Verdict.ADVISED_AGAINST
    assert proposed.proposals.proposals[0].accept_by_name == LOST_BY_UP
    assert names.one("SELECT count(*) FROM users WHERE first_name IS NOT NULL") == 1001


def test_every_destroyed_value_is_kept_and_comes_back_onto_its_row(
    names: World, capsys: pytest.CaptureFixture[str]
):
    incident = names.open()
    incidents.propose(names.desk(), incident)
    names.approve(incident, strategy="A", accepts=LOST_BY_UP)
    ran = incidents.run(names.desk(), incident, {}, 0)
    assert ran.execution.outcome is Outcome.BACKED_OUT
    assert (ran.execution.values_destroyed, ran.execution.values_kept) == (1001, 1001)
    assert names.one("SELECT count(*) FROM users WHERE full_name IS NOT NULL") == 0
    arguments = ("kept", "put-back", incident, "--column", "first_name=full_name")
    signed = ("--as", "priya.raman", "--key", str(names.keys["priya.raman"]), "--confirm", "heroes")
    code, document, _ = names.cli(capsys, *arguments, *signed)
    assert code == 0, document
    assert (document["written"], document["row_gone"]) == (1001, 0)
    assert names.one("SELECT count(*) FROM users WHERE full_name = 'edited ' || id") == 50
    assert names.one("SELECT full_name FROM users WHERE email = 'new@x'") == "new"
    assert names.one("SELECT full_name FROM users WHERE id = 51") == "name 51"


def test_with_a_snapshot_from_before_the_up_its_loss_is_exact(
    heroes: World, capsys: pytest.CaptureFixture[str]
):
    names_world(heroes)
    code, _, err = heroes.cli(capsys, "snapshot", "prove", "--target", "heroes")
    assert code == 0, err
    apply_names(heroes)
    proposed = incidents.propose(heroes.desk(), heroes.open())
    up = [loss for loss in proposed.rehearsals[0].losses if loss.by is DestroyedBy.UP]
    assert [(loss.column, loss.values.count, loss.values.basis) for loss in up] == [
        ("full_name", 1000, Basis.EXACT)
    ]


def test_the_gate_waits_for_the_second_person(names: World):
    incident = names.open()
    incidents.propose(names.desk(), incident)
    with pytest.raises(Waiting, match="nobody has chosen a strategy"):
        incidents.run(names.desk(), incident, {}, 0)
    names.approve(incident, strategy="A", accepts=LOST_BY_UP, people=("jonas.lind",))
    with pytest.raises(Waiting, match="missing: owner"):
        incidents.run(names.desk(), incident, {}, 0)
    assert names.one("SELECT count(*) FROM users WHERE first_name IS NOT NULL") == 1001


def test_what_is_not_given_back_has_to_be_named(names: World):
    incident = names.open()
    incidents.propose(names.desk(), incident)
    with pytest.raises(ConfigurationError, match=r"users\.full_name"):
        names.approve(incident, strategy="A")


def test_an_approval_dies_when_the_schema_changes(names: World):
    incident = names.open()
    incidents.propose(names.desk(), incident)
    names.approve(incident, strategy="A", accepts=LOST_BY_UP)
    with names.connect() as session:
        session.execute("ALTER TABLE users ADD COLUMN surprise int")
    with pytest.raises(ApprovalVoid, match="the schema changed"):
        incidents.run(names.desk(), incident, {}, 0)
    assert names.one("SELECT count(*) FROM users WHERE first_name IS NOT NULL") == 1001


def test_an_edited_down_kills_the_approval(names: World):
    incident = names.open()
    incidents.propose(names.desk(), incident)
    names.approve(incident, strategy="A", accepts=LOST_BY_UP)
    file = names.root / "migrations" / "20240201000000_first_name.sql"
    file.write_text(file.read_text() + "DROP TABLE users;\n")
    with pytest.raises(ApprovalVoid, match="sha differs"):
        incidents.run(names.desk(), incident, {}, 0)
    file.write_text(file.read_text().removesuffix("DROP TABLE users;\n") + "SELECT 1;\n")
    incidents.propose(names.desk(), incident)  # the new round knows the file as it is now
    names.approve(incident, strategy="A", accepts=LOST_BY_UP)
    assert incidents.run(names.desk(), incident, {}, 0).execution.outcome is Outcome.BACKED_OUT


def test_a_healthy_additive_migration_is_recommended(heroes: World):
    names_world(heroes)
    up = "ALTER TABLE users ADD COLUMN source text;"
    heroes.migration("20240201000000_first_name", up, "ALTER TABLE users DROP COLUMN source;")
    heroes.applied("20240201000000", up)
    with heroes.connect() as session:
        session.execute("UPDATE users SET source = 'web' WHERE id <= 10")
    incident = heroes.open()
    proposed = incidents.propose(heroes.desk(), incident)
    assert proposed.proposals.recommended == "A"
    heroes.approve(incident)
    ran = incidents.run(heroes.desk(), incident, {}, 0)
    assert (ran.execution.values_destroyed, ran.execution.values_kept) == (10, 10)
    assert all(check.good for check in ran.verification.checks)


def test_the_screen_of_a_real_proposal_says_each_thing_once_and_whole(heroes16: World):
    names_world(heroes16)
    up = "ALTER TABLE users ADD COLUMN source text;"
    heroes16.migration("20240201000000_first_name", up, "ALTER TABLE users DROP COLUMN source;")
    heroes16.applied("20240201000000", up)
    found = incidents.propose(heroes16.desk(), heroes16.open())
    told = propose_screen(
        *(found.incident, found.triage, found.proposals, found.rehearsals, dict(found.digests)),
        style=Style(width=200),
        now=datetime.now(UTC),
        snapshot=found.snapshot,
    )
    assert "\nA would be refused if the down failed, or held its lock longer than 1 s.\n" in told
    (line,) = [line for line in told.splitlines() if "not measured:" in line]
    assert line.count("sequence") == 1  # users has one
    things = line.split(": ", 1)[1].split("; ")
    assert len(things) == len(set(things)) == 3


def test_what_was_never_configured_is_skipped_and_said_in_the_resolution(
    names: World, capsys: pytest.CaptureFixture[str]
):
    file = names.root / "backout.toml"
    health = '[target.heroes.checks.health]\nhttp = "http://127.0.0.1:9/api/health"\n'
    history = '[target.heroes.checks.history]\nsql = "SELECT count(*) FROM schema_migrations"\n'
    incident = names.open()
    incidents.propose(names.desk(), incident)
    names.approve(incident, strategy="A", accepts=LOST_BY_UP)
    ran = incidents.run(names.desk(), incident, {}, 0)
    skipped = [c.name for c in ran.verification.checks if c.state is CheckState.SKIPPED]
    assert skipped == ["health endpoint", "read smoke", "write smoke"]
    journal = names.application().journal.read(incident)
    notice = [str(e.body["text"]) for e in journal if e.kind is EntryKind.NOTICE][-1]
    assert "Validation passed, 3 checks skipped." in notice
    assert "Checks skipped: health endpoint (not configured); read smoke (not configured)" in notice
    file.write_text(file.read_text() + health + history)
    code, document, _ = names.cli(capsys, "verify", incident)
    checks = document["verification"]["checks"]
    states = {check["name"]: check["state"] for check in checks}
    assert len(states) == len(checks), "each name stands once, that of init's check of the history too"
    assert code == 1, "nobody answers there"
    assert states["health"] == "fail"
    assert "health endpoint" not in states


def test_a_second_round_does_not_announce_the_incident_again(names: World):
    incident = names.open()
    for _ in range(2):
        incidents.propose(names.desk(), incident)
    journal = names.application().journal.read(incident)
    told = [str(e.body["text"]) for e in journal if e.kind is EntryKind.NOTICE]
    assert sum("Snapshot: being taken" in text for text in told) == 1, told


def test_running_twice_does_nothing_twice(names: World):
    incident = names.open()
    incidents.propose(names.desk(), incident)
    names.approve(incident, strategy="A", accepts=LOST_BY_UP)
    first = incidents.run(names.desk(), incident, {}, 0)
    again = incidents.run(names.desk(), incident, {}, 0)
    assert again.execution == first.execution
    with pytest.raises(Refused, match="already backed out"):
        incidents.propose(names.desk(), incident)


def test_after_the_end_run_says_so_and_begins_no_watch(names: World, capsys: pytest.CaptureFixture[str]):
    incident = names.open()
    incidents.propose(names.desk(), incident)
    names.approve(incident, strategy="A", accepts=LOST_BY_UP)
    incidents.run(names.desk(), incident, {}, 1)
    for words in (("run",), ("run", "--watch", "30m"), ("resume",)):  # production: half an hour by default
        code, document, err = names.cli(capsys, words[0], incident, *words[1:])
        assert (code, document["outcome"], document["again"]) == (0, "backed_out", True), err
        assert (document["watch"], document["next"]) == (None, f"backout verify {incident} --watch 30m")
    assert command_line(["run", incident, "--config", str(names.root / "backout.toml")]) == 0
    told = capsys.readouterr().out
    assert "The old schema is live." in told
    assert "nothing was done now, and nobody watches" in told


def test_a_watch_whose_process_died_is_resumed(names: World):
    incident = names.open()
    incidents.propose(names.desk(), incident)
    names.approve(incident, strategy="A", accepts=LOST_BY_UP)
    incidents.run(names.desk(), incident, {}, 0)
    names.desk().record(incident, EntryKind.STARTED, "watch.1.ended", {})  # and then kill -9
    assert incidents.run(names.desk(), incident, {}, 1).watch is None
    resumed = incidents.resume(names.desk(), incident, 1)
    assert resumed.watch is not None
    assert not resumed.again
    assert incidents.resume(names.desk(), incident, 1).again


def test_after_two_back_outs_of_one_migration_only_the_newer_one_alarms(
    names: World, capsys: pytest.CaptureFixture[str]
):
    def back_out() -> str:
        incident = names.open()
        incidents.propose(names.desk(), incident)
        names.approve(incident, strategy="A", accepts=LOST_BY_UP)
        incidents.run(names.desk(), incident, {}, 0)
        return incident

    def alarms() -> list[str]:
        _, _, err = names.cli(capsys, "status")
        return [line for line in err.splitlines() if "applied again" in line]

    back_out()
    apply_names(names)
    assert len(alarms()) == 1
    newer = back_out()
    assert alarms() == []
    apply_names(names)
    assert len(alarms()) == 1
    assert names.cli(capsys, "close", newer, "--reason", "it may stay")[0] == 0
    assert alarms() == [], "a closed back-out does not give the alarm back to the older one"
