"""The whole demo, as a person types it: on its own, killed in the middle, and with a dead ETL."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backout.demo.place import Place
from backout.demo.world import control, scratch
from backout.demo.world.processes import Processes
from backout.demo.world.production import Production
from tests import documents
from tests.demo import worlds

pytestmark = [pytest.mark.slow, pytest.mark.node, pytest.mark.timeout(600)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place of this test's own; whatever runs there is ended with it."""
    found = Place(tmp_path / "demo")
    yield found
    for where in (found, Place(found.root / "second")):
        _clear(where)


def _clear(place: Place) -> None:
    processes = Processes(place.processes)
    for name in ("verb", "application", "etl"):
        processes.end(name, patience=2)
    record = control.read(place.root / "production.json")
    if record:
        worlds.remove(Production(**record))
        scratch.forget(place)


def begin(place: Place, *options: str) -> subprocess.Popen[str]:
    """Type `backout demo`."""
    return subprocess.Popen(
        [sys.executable, "-m", "backout", "demo", *options],
        env={**os.environ, "BACKOUT_DEMO": str(place.root)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(child: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    """Exit code, the document on stdout, everything that people read."""
    out, err = child.communicate(timeout=400)
    try:
        document = json.loads(out)
    except ValueError:
        raise AssertionError(f"exit {child.returncode}\n{out}\n{err}") from None
    documents.assert_fits(document, "demo --second" if "--second" in str(child.args) else "demo")
    return child.returncode, document, err


def nothing_was_lost(document: dict[str, Any]) -> None:
    """What every demo that ends has to show."""
    for name in ("lost_writes", "doubled_writes", "values_lost", "client_errors"):
        assert document[name] == 0, (name, document)
    assert document["values_kept"] == document["values_destroyed"] > 0
    assert document["write_pause_ms"] < 1000
    assert Path(document["postmortem"]).is_file()


def test_the_demo_rescues_its_database_in_under_three_minutes(place: Place) -> None:
    code, document, screen = end(begin(place, "--json"))
    assert code == 0, screen
    nothing_was_lost(document)
    assert document["seconds"] < 180
    assert document["contained_after_seconds"] < 20
    assert document["acknowledged_writes"] > 500
    assert 0 < document["values_destroyed_predicted"] <= document["values_destroyed"]
    assert "A demo is not two people" in screen
    assert not any(line.startswith("{") for line in screen.splitlines())
    password = control.read(place.root / "production.json")["password"]
    assert password not in screen


def test_a_demo_killed_in_the_middle_goes_on_with_the_same_incident(place: Place) -> None:
    first = begin(place, "--json")
    wanted = random.Random().choice(["contain", "prove", "propose", "approve", "revert application"])
    reached = control.wait_until(
        lambda: wanted in control.read(place.story).get("steps", []) or first.poll() is not None, 200
    )
    assert reached, "the demo did not come so far"
    time.sleep(random.Random().uniform(0.2, 4.0))
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=30)
    incident = control.read(place.story)["incident"]

    code, document, screen = end(begin(place, "--json"))
    assert code == 0, f"killed after {wanted}\n{screen}"
    assert "Going on where the last demo was cut" in screen
    assert document["incident"] == incident
    nothing_was_lost(document)
    assert control.read(place.story)["finished"], "one more demo begins anew"


def test_two_demos_do_not_share_a_world(place: Place) -> None:
    with place.make().alone():
        child = begin(place, "--json")
        out, _ = child.communicate(timeout=60)
    assert (child.returncode, json.loads(out)["what"]) == (3, "another demo is running here")


def test_a_demo_whose_etl_never_comes_back_fails_its_verification(place: Place) -> None:
    code, document, screen = end(begin(place, "--json", "--dead-etl"))
    assert (code, document["verified"]) == (1, False), screen
    nothing_was_lost(document)


def test_the_second_example_brings_1001_values_back(place: Place) -> None:
    code, document, screen = end(begin(place, "--second", "--json"))
    assert code == 0, screen
    assert (document["rows"], document["values_kept"], document["names_back"]) == (1001, 1001, 1001)
    assert document["names_without_backout"] == 0
    assert "advised against" in screen
