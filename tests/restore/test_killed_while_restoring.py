"""kill -9 in a restore, and the same command again: the same point, one instance, nothing unlisted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.restore.places import ROWS, Place, count

pytestmark = pytest.mark.slow


def dies(place: Place, when: str, kind: str, key: str, *words: str) -> None:
    """The command in a process that is killed right before or after this entry of its journal."""
    command = [sys.executable, "-m", "tests.story.dying", when, kind, key, "--", "restore", *words]
    done = subprocess.run(
        [*command, "--config", str(place.made.root / "backout.toml")],
        cwd=Path(__file__).parents[2],
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -9, done.stderr


CUTS = (
    ("after", "finished", "restore.choice"),
    ("before", "finished", "restore.instance"),
    ("after", "finished", "restore.instance"),
    ("before", "finished", "restore.smoke"),
    ("before", "finished", "restore.handed"),
)


@pytest.mark.parametrize("cut", CUTS[1:2], ids=" ".join)
def test_it_goes_on_with_the_same_point_and_one_instance(place16: Place, cut: tuple[str, str, str]):
    _killed_and_typed_again(place16, cut)


@pytest.mark.soak
@pytest.mark.parametrize("cut", CUTS, ids=" ".join)
def test_it_goes_on_wherever_it_died(place16: Place, cut: tuple[str, str, str]):
    _killed_and_typed_again(place16, cut)


def _killed_and_typed_again(place: Place, cut: tuple[str, str, str]) -> None:
    place.take()
    dies(place, *cut)
    place.write(3)
    answer = place.restored()
    assert answer["restored"]["instance"].endswith("-1")
    assert count(answer, "issues") == ROWS, "the point of the killed command, not a later one"
    assert [one.name for one in place.instances.all()] == [answer["restored"]["instance"]]
    assert place.instances.unfinished() == ()
    assert len([i for i in place.made.desk().app.journal.incidents() if i.startswith("rst-")]) == 1


@pytest.mark.soak
def test_a_half_made_instance_is_listed_and_gives_way_to_another_point(place16: Place):
    identifier = place16.take()
    process = subprocess.Popen(
        [sys.executable, "-m", "backout", "restore", "--config", str(place16.made.root / "backout.toml")],
        env={**os.environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not place16.instances.unfinished():
        assert process.poll() is None, "it ended before it was killed"
    process.kill()
    process.wait()
    listed = place16.typed("copies")[1]["instances"]
    assert [one["target"] for one in listed] == ["half made"]
    answer = place16.restored("--at-backup", identifier)
    assert [one["name"] for one in place16.typed("copies")[1]["instances"]] == [
        answer["restored"]["instance"]
    ]
