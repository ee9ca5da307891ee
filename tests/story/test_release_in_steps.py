"""Bring back workers gradually: a small pool first, and more only while the checks hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from backout.app import incidents
from tests.story.harness import World, apply_names, names_world

STEPS = ("--workers", "1,4,16")


@pytest.fixture
def names(heroes16: World) -> World:
    names_world(heroes16)
    apply_names(heroes16)
    return heroes16


def pool(made: World) -> Path:
    """As many workers as this file says."""
    file = made.root / "replicas"
    file.write_text("16")
    return file


def contained(made: World, capsys: pytest.CaptureFixture[str]) -> Path:
    file = pool(made)
    stop, start = f"sh -c 'echo 0 > {file}'", f"sh -c 'echo {{workers}} > {file}'"
    code, answer, err = made.cli(
        *(
            capsys,
            "contain",
            "--name",
            "etl",
            "--command",
            stop,
            "--back",
            start,
            "--look",
            f"cat {file}",
            *STEPS,
        )
    )
    assert (code, answer["detail"]) == (0, "0"), (answer, err)
    return file


def released(
    made: World, capsys: pytest.CaptureFixture[str], *more: str, code: int = 0
) -> tuple[str, dict[str, object]]:
    found, answer, err = made.cli(capsys, "release", "--name", "etl", *more)
    assert found == code, (answer, err)
    return (made.root / "replicas").read_text().strip(), answer


def test_one_worker_then_some_then_all_while_the_checks_are_good(
    names: World, capsys: pytest.CaptureFixture[str]
):
    incident = names.open()
    contained(names, capsys)
    incidents.propose(names.desk(), incident)
    names.approve(incident, strategy="A", accepts=("users.full_name",))
    incidents.run(names.desk(), incident, {}, 0)
    running, answer = released(names, capsys)
    assert (running, answer["state"], answer["detail"]) == ("1", "ramping", "1 of 16 workers, 1")
    assert names.cli(capsys, "status", incident)[1]["incidents"][0]["contained"] == ["etl: 1 of 16 workers"]
    code, refused, _ = names.cli(capsys, "close", incident)
    assert (code, "etl is still ramping" in refused["what"]) == (3, True)
    assert released(names, capsys)[0] == "4"
    with names.connect() as session:
        session.execute("DELETE FROM users WHERE id <= 900")
    running, refused = released(names, capsys, code=3)
    assert running == "4" and "etl stays at 4 workers" in str(refused["what"]), refused
    running, answer = released(names, capsys, "--all")
    assert (running, answer["state"]) == ("16", "released")
    assert names.cli(capsys, "status", incident)[1]["incidents"][0]["contained"] == []


def test_before_anything_was_backed_out_there_is_nothing_to_ask(
    names: World, capsys: pytest.CaptureFixture[str]
):
    names.open()
    contained(names, capsys)
    assert [released(names, capsys)[0] for _ in range(3)] == ["1", "4", "16"]
    assert released(names, capsys, code=3)[0] == "16"


@pytest.mark.parametrize(
    ("workers", "back"),
    [("4,1", "scale {workers}"), ("1,x", "scale {workers}"), ("1,4", "scale"), ("", "scale {workers}")],
)
def test_steps_that_make_no_sense_stop_nothing(
    names: World, capsys: pytest.CaptureFixture[str], workers: str, back: str
):
    names.open()
    file = pool(names)
    stop = f"sh -c 'echo 0 > {file}'"
    code, answer, _ = names.cli(
        *(capsys, "contain", "--name", "etl", "--command", stop, "--back", back, "--workers", workers)
    )
    assert (code, file.read_text()) == (2, "16"), answer
