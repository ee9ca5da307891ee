"""Status updates every 15 to 30 minutes: by a person, or by a clock; to a file, to chat, to mail."""

from __future__ import annotations

import time

import pytest

from backout.app import incidents
from tests.story.harness import World, apply_names, names_world


@pytest.fixture
def names(heroes16: World) -> World:
    names_world(heroes16)
    apply_names(heroes16)
    return heroes16


def configured(made: World, channels: str) -> None:
    """These lines in [channels], beside the file."""
    path = made.root / "backout.toml"
    path.write_text(path.read_text().replace("[channels]\n", f"[channels]\n{channels}\n"))


def sent(made: World) -> str:
    return (made.root / "notices.log").read_text()


def test_an_update_says_where_the_story_stands_and_is_due_again_later(
    names: World, capsys: pytest.CaptureFixture[str]
):
    code, opened, _ = names.cli(capsys, "open", "--last", "1")
    incident = opened["incident"]["id"]
    code, told, _ = names.cli(capsys, "update", "--say", "we wait for the owner", "--by", "priya.raman")
    assert code == 0
    text = told["told"][0]["text"]
    assert f"Update on {incident}" in text and "we wait for the owner" in text
    assert "Safe: nothing has been changed; backout has only read." in text
    assert f"Next: backout propose {incident}" in text
    assert text in sent(names)
    assert names.cli(capsys, "update", incident[:6], "--say", "by the beginning of its name")[0] == 0
    assert names.cli(capsys, "status", incident)[1]["incidents"][0]["acts"] != "priya.raman"
    assert names.cli(capsys, "update", "--if-due")[1]["told"] == []
    configured(names, 'update_every = "1s"')
    time.sleep(1.1)
    told = names.cli(capsys, "update", "--if-due", "--by", "clock")[1]["told"]
    assert [one["incident"] for one in told] == [incident]


def test_after_the_run_an_update_says_that_what_was_destroyed_is_kept(
    names: World, capsys: pytest.CaptureFixture[str]
):
    incident = names.open()
    incidents.propose(names.desk(), incident)
    names.approve(incident, strategy="A", accepts=("users.full_name",))
    incidents.run(names.desk(), incident, {}, 0)
    text = names.cli(capsys, "update")[1]["told"][0]["text"]
    assert "backed out" in text and "every value that the rollback destroyed is kept" in text


def test_every_notice_goes_to_the_command_too_and_a_dead_one_blocks_nothing(
    names: World, capsys: pytest.CaptureFixture[str]
):
    configured(
        names,
        """command = ["sh", "-c", "cat >> chat.txt; echo $BACKOUT_INCIDENT $BACKOUT_AUDIENCE >> chat.txt"]""",
    )
    code, opened, err = names.cli(capsys, "open", "--last", "1")
    incident = opened["incident"]["id"]
    chat = (names.root / "chat.txt").read_text()
    assert code == 0 and "! notice" not in err
    assert "Rollback of migration" in chat and f"{incident} stakeholders" in chat
    config = names.root / "backout.toml"
    for broken, why in (('["no-such-program"]', "was not found"), ('["false"]', "ended with 1")):
        lines = config.read_text().splitlines()
        config.write_text(
            "\n".join(f"command = {broken}" if line.startswith("command =") else line for line in lines)
        )
        code, _, err = names.cli(capsys, "update", "--say", "still there")
        assert code == 0
        assert f"{why}; the notice is in the journal" in err
    assert sent(names).count("still there") == 2, "the other channel got it"


def test_a_clock_is_told_nothing_when_nothing_is_open(names: World, capsys: pytest.CaptureFixture[str]):
    code, told, _ = names.cli(capsys, "update", "--if-due")
    assert (code, told["told"]) == (0, [])
    code, error, _ = names.cli(capsys, "update", "--if-due", "--say", "x")
    assert (code, error["next"]) == (2, "backout update --if-due")
