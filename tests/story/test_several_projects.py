"""One account, one state directory, several projects: each sees its own incidents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backout.app import incidents
from backout.cli import command_line
from tests.story.harness import World, apply_names, names_world


@pytest.fixture
def backed_out(heroes16: World) -> str:
    """An incident of this project, backed out and still open."""
    names_world(heroes16)
    apply_names(heroes16)
    incident = heroes16.open()
    incidents.propose(heroes16.desk(), incident)
    heroes16.approve(incident, strategy="A", accepts=("users.full_name",))
    incidents.run(heroes16.desk(), incident, {}, 0)
    return incident


@pytest.fixture
def other(heroes16: World, tmp_path: Path) -> Path:
    """Another project of the same account, with another target."""
    text = (heroes16.root / "backout.toml").read_text().replace("target.heroes", "target.shop")
    config = tmp_path / "other.toml"
    config.write_text(text)
    return config


def typed(
    capsys: pytest.CaptureFixture[str], config: Path, *words: str
) -> tuple[int, dict[str, object], str]:
    capsys.readouterr()
    code = command_line([*words, "--config", str(config), "--json"])
    shown = capsys.readouterr()
    return code, json.loads(shown.out), shown.err


def test_an_incident_of_another_project_is_nobodys_here(
    heroes16: World, backed_out: str, other: Path, capsys: pytest.CaptureFixture[str]
):
    apply_names(heroes16)  # it came back: an alarm there, and none here
    code, answer, err = typed(capsys, other, "update")
    assert (code, answer["what"]) == (2, "no incident is open in this project; 1 in others")
    text = other.read_text().replace("[channels]", '[channels]\nupdate_every = "1ms"')
    other.write_text(text)
    assert typed(capsys, other, "update", "--if-due")[1]["told"] == [], "its own people are told by it"
    assert "ALARM" not in err and "Traceback" not in err
    code, answer, _ = typed(capsys, other, "verify", backed_out)
    assert (code, answer["what"]) == (2, "no target 'heroes'")
    assert "another one in its own project" in str(answer["next"])
    assert "ALARM" in typed(capsys, heroes16.root / "backout.toml", "status")[2]


def test_its_own_incident_is_the_only_open_one_of_a_project(
    heroes16: World, backed_out: str, other: Path, capsys: pytest.CaptureFixture[str]
):
    apply_names(heroes16)
    code, opened, err = typed(capsys, other, "open", "--last", "1")
    assert code == 0, (opened, err)
    code, told, _ = typed(capsys, other, "update", "--say", "looking")
    assert code == 0 and told["told"][0]["incident"] == opened["incident"]["id"] != backed_out  # type: ignore[index]
