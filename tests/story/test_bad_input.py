"""Mistakes and bad luck at 3 a.m.: a clear message in four parts, an exit code, no traceback, no secret."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from backout.app import incidents
from backout.cli import command_line
from tests.story.harness import World, apply_names, names_world

SECRET = "hunter2-canary"


@pytest.fixture
def names(heroes16: World) -> World:
    names_world(heroes16)
    apply_names(heroes16)
    return heroes16


def refused(
    made: World, capsys: pytest.CaptureFixture[str], *arguments: str, json_too: bool = True
) -> tuple[int, dict[str, Any], str]:
    """The same command for people and for machines: one exit code, one document, four parts."""
    config = ("--config", str(made.root / "backout.toml"))
    capsys.readouterr()
    code = command_line([*arguments, *config])
    shown = capsys.readouterr()
    document: dict[str, Any] = {}
    if json_too:
        assert command_line([*arguments, *config, "--json"]) == code
        document = json.loads(capsys.readouterr().out)
        assert document["exit"] == code
    assert "Traceback" not in shown.err + shown.out
    assert SECRET not in shown.err + shown.out + json.dumps(document)
    said = shown.err if code else shown.out
    assert said.rstrip().splitlines()[-1].startswith("next: ") or "first:" in said
    return code, document, shown.err


def test_nobody_answers(names: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEROES_DSN", f"postgresql://heroes:{SECRET}@127.0.0.1:1/heroes")
    code, document, _ = refused(names, capsys, "open")
    assert (code, document["error"]) == (7, "NeighbourUnreachable")
    assert "127.0.0.1:1" in document["where"]


def test_the_password_is_wrong(
    names: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HEROES_DSN", names.server.dsn("no_such_database", "t_owner", SECRET))
    code, document, _ = refused(names, capsys, "open")
    assert code == 2
    assert "no_such_database" in document["what"] + document["where"]


def test_the_variable_with_the_dsn_is_not_set(
    names: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("HEROES_DSN")
    code, document, _ = refused(names, capsys, "open")
    assert code == 2
    assert "HEROES_DSN is not set" in document["what"]


def test_a_dsn_that_cannot_be_parsed_is_not_shown(
    names: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HEROES_DSN", f"postgresql://x:{SECRET}@[broken")
    assert refused(names, capsys, "open")[0] == 2


def test_no_migration_of_this_name(names: World, capsys: pytest.CaptureFixture[str]):
    code, document, _ = refused(names, capsys, "open", "--migration", "nothing-like-it")
    assert (code, document["error"]) == (2, "UnknownName")
    assert document["next"].startswith("backout open --migration ")
    assert "20240201000000" in document["next"]


def test_no_incident_of_this_name(names: World, capsys: pytest.CaptureFixture[str]):
    assert refused(names, capsys, "propose", "inc-none")[0] == 2
    assert refused(names, capsys, "run", "inc-none")[0] == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[target.heroes\n", "line 1"),
        ("[target.heroes]\nenvironment = 'x'\nnonsense = 1\n", "target.heroes"),
        ("[budgets]\nlock_timeout = 'soon'\n", "budgets.lock_timeout"),
    ],
)
def test_a_configuration_that_is_wrong_names_the_place(
    names: World, capsys: pytest.CaptureFixture[str], text: str, words: str
):
    (names.root / "backout.toml").write_text(text)
    code, document, _ = refused(names, capsys, "open")
    assert code == 2
    assert words in document["what"]


def test_no_configuration_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert command_line(["open"]) == 2
    assert "next: backout init" in capsys.readouterr().err


def test_an_unknown_verb_or_option(capsys: pytest.CaptureFixture[str]):
    assert command_line(["rollback"]) == 2
    assert command_line(["open", "--no-such-option"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_two_operators_at_once(names: World, capsys: pytest.CaptureFixture[str]):
    incident = names.open()
    with FileLock(names.state / "lock"):
        code, document, _ = refused(names, capsys, "propose", incident)
    assert code == 3
    assert "another command is at work" in document["what"]


def test_two_people_open_an_incident_for_one_bad_migration(names: World, capsys: pytest.CaptureFixture[str]):
    first = names.cli(capsys, "open", "--symptom", "sign-ups fail")[1]
    assert first["also_open"] == []
    second = names.cli(capsys, "open", "--symptom", "names are gone")[1]
    assert second["also_open"] == [first["incident"]["id"]]
    told = refused(names, capsys, "propose")[1]
    assert told["next"].startswith("backout status, then the same command with one of: inc-")
    doubled = second["incident"]["id"]
    assert names.cli(capsys, "close", doubled, "--reason", "doubled")[0] == 0
    code, third, _ = names.cli(capsys, "status")
    assert (code, third["next"]) == (0, f"backout propose {first['incident']['id']}")


def test_the_journal_cannot_be_written(names: World, capsys: pytest.CaptureFixture[str]):
    incident = names.open()
    journal = names.application().journal
    journal._db.execute(
        "CREATE TRIGGER full BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    code, document, _ = refused(names, capsys, "propose", incident)
    assert code == 5
    assert "journal cannot be written" in document["what"]
    assert names.one("SELECT count(*) FROM users WHERE first_name IS NOT NULL") == 1001


def test_an_empty_validation_plan_closes_the_gate(names: World, capsys: pytest.CaptureFixture[str]):
    text = (names.root / "backout.toml").read_text()
    start, end = text.index("[target.heroes.checks.users]"), text.index("[policy.")
    (names.root / "backout.toml").write_text(text[:start] + text[end:])
    incident = names.open()
    incidents.propose(names.desk(), incident)
    names.approve(incident, strategy="A", accepts=("users.full_name",))
    code, document, _ = refused(names, capsys, "run", incident)
    assert code == 3
    assert "validation plan: empty" in document["what"]


def test_ctrl_c_between_two_steps_stops_before_the_next_effect(names: World):
    incident = names.open()
    desk = names.desk()
    desk.ask_to_stop()
    with pytest.raises(Exception, match="stopped before"):
        incidents.propose(desk, incident)
    assert incidents.propose(names.desk(), incident).proposals.proposals


def test_nothing_of_ours_is_left_by_threads(names: World):
    names.open()
    assert threading.active_count() < 10


def test_a_table_that_is_being_changed_right_now_is_named_with_its_session(
    names: World, capsys: pytest.CaptureFixture[str]
):
    with names.connect() as migration:
        migration.autocommit = False
        migration.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        pid = migration.info.backend_pid
        code, _, err = refused(names, capsys, "open", json_too=False)
        migration.rollback()
    assert code == 3
    assert f"pid {pid}, t_owner" in " ".join(err.split())
    assert "backout open --target heroes" in err
    assert refused(names, capsys, "status")[0] == 0


def test_more_migrations_than_the_history_lists_are_not_taken_as_all(
    names: World, capsys: pytest.CaptureFixture[str]
):
    code, document, _ = refused(names, capsys, "open", "--last", "99")
    assert (code, document["what"]) == (2, "--last 99: the history lists 2")


@pytest.mark.parametrize("asked", [(), ("--last", "1"), ("--migration", "20240301000000_email")])
def test_a_migration_that_still_runs_is_named_as_in_progress_without_waiting_for_it(
    names: World, capsys: pytest.CaptureFixture[str], asked: tuple[str, ...]
):
    up = "ALTER TABLE users ALTER COLUMN email SET NOT NULL;"
    names.migration("20240301000000_email", up, "ALTER TABLE users ALTER COLUMN email DROP NOT NULL;")
    with names.connect() as migration:
        migration.autocommit = False
        migration.execute("UPDATE users SET email = 'x' WHERE email IS NULL")
        migration.execute(up.encode())
        pid = migration.info.backend_pid
        begun = time.monotonic()
        code, document, _ = refused(names, capsys, "open", *asked)
        seconds = time.monotonic() - begun
        migration.rollback()
    assert (code, seconds < 5) == (3, True)
    told = f"20240301000000 is in progress: pid {pid} (t_owner) is running it"
    assert told in document["what"], document
    assert "20240201000000, which may be healthy" in document["what"]
    assert f"pg_terminate_backend({pid})" in document["next"]
    assert refused(names, capsys, "open")[0] == 0
