"""The whole demo, as a person types it: on its own, killed in the middle, and with a dead ETL."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from backout.demo.place import Place
from backout.demo.world import control
from tests.demo.typed import begin, end, kill_after

pytestmark = [pytest.mark.slow, pytest.mark.node, pytest.mark.timeout(600)]


def nothing_was_lost(document: dict[str, Any]) -> None:
    """What every demo that ends has to show."""
    for name in ("lost_writes", "doubled_writes", "values_lost", "client_errors"):
        assert document[name] == 0, (name, document)
    assert document["values_kept"] == document["values_destroyed"] > 0
    assert document["write_pause_ms"] < 1000
    assert Path(document["postmortem"]).is_file()


@pytest.mark.proves(
    claim="The first demo",
    on="processes that write and read all the while, one machine, loopback",
    rights="plain owner",
    versions="16",
    size="4 writers, 20,000 rows",
)
def test_the_demo_rescues_its_database_in_under_three_minutes(own: Place) -> None:
    code, document, screen = end(begin(own, "--json"))
    assert code == 0, screen
    nothing_was_lost(document)
    assert document["seconds"] < 180
    assert document["contained_after_seconds"] < 20
    assert document["acknowledged_writes"] > 500
    assert 0 < document["values_destroyed_predicted"] <= document["values_destroyed"]
    assert "A demo is not two people" in screen
    assert not any(line.startswith("{") for line in screen.splitlines())
    password = control.read(own.root / "production.json")["password"]
    assert password not in screen


@pytest.mark.soak  # the night with a cutover is killed in the ordinary run
def test_a_demo_killed_in_the_middle_goes_on_with_the_same_incident(own: Place) -> None:
    wanted = random.Random().choice(["contain", "prove", "propose", "approve", "revert application"])
    incident = kill_after(begin(own, "--json"), own, wanted, random.Random().uniform(0.2, 4.0))
    code, document, screen = end(begin(own, "--json"))
    assert code == 0, f"killed after {wanted}\n{screen}"
    assert "Going on where the last demo was cut" in screen
    assert document["incident"] == incident
    nothing_was_lost(document)
    assert control.read(own.story)["finished"], "one more demo begins anew"


def test_two_demos_do_not_share_a_world(own: Place) -> None:
    with own.make().alone():
        code, document, _ = end(begin(own, "--json"))
    assert (code, document["what"]) == (3, "another demo is running here")


@pytest.mark.soak
def test_a_demo_whose_etl_never_comes_back_fails_its_verification(own: Place) -> None:
    code, document, screen = end(begin(own, "--json", "--dead-etl"))
    assert (code, document["verified"]) == (1, False), screen
    nothing_was_lost(document)


def test_the_second_example_brings_1001_values_back(own: Place) -> None:
    code, document, screen = end(begin(own, "--second", "--json"))
    assert code == 0, screen
    assert (document["rows"], document["values_kept"], document["names_back"]) == (1001, 1001, 1001)
    assert document["names_without_backout"] == 0
    assert "advised against" in screen
