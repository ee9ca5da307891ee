"""Kept values end by a verb: after the incident, after their retention, with a reason and a signature."""

from __future__ import annotations

from typing import Any

import pytest

from backout.app import incidents
from backout.app.compose import Application
from backout.app.desk import Desk
from backout.app.reading import status
from tests.story.harness import Silent, World, apply_names, names_world

LOST_BY_UP = ("users.full_name",)
REASON = ("--reason", "exported, OPS-17")


@pytest.fixture
def backed_out(heroes16: World) -> tuple[World, str]:
    """1,001 values are kept; the incident is still open."""
    names_world(heroes16)
    apply_names(heroes16)
    incident = heroes16.open()
    incidents.propose(heroes16.desk(), incident)
    heroes16.approve(incident, strategy="A", accepts=LOST_BY_UP)
    incidents.run(heroes16.desk(), incident, {}, 0)
    return heroes16, incident


def drop(
    made: World, capsys: pytest.CaptureFixture[str], incident: str, *more: str, by: str = ""
) -> tuple[int, dict[str, Any]]:
    signed = ("--as", by, "--key", str(made.keys[by]), "--confirm", "heroes") if by else ()
    code, document, _ = made.cli(capsys, "kept", "drop", incident, *more, *signed)
    return code, document


def kept_tables(made: World) -> int:
    count = made.one(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'backout_kept'::regnamespace AND relname ~ '^k_'"
    )
    return int(count)


def retention(made: World, span: str) -> None:
    config = made.root / "backout.toml"
    config.write_text(config.read_text() + f"[kept]\nretention = '{span}'\n")


def test_nothing_is_dropped_while_an_incident_is_open(
    backed_out: tuple[World, str], capsys: pytest.CaptureFixture[str]
):
    made, incident = backed_out
    retention(made, "0s")
    code, refused = drop(made, capsys, incident, *REASON, by="priya.raman")
    assert (code, refused["next"]) == (3, f"backout close {incident}")
    assert f"{incident} is open on heroes" in refused["what"]
    made.cli(capsys, "close", incident)
    another = made.open("20240101000000")
    code, refused = drop(made, capsys, incident, *REASON, by="priya.raman")
    assert (code, refused["next"]) == (3, f"backout close {another}")
    assert kept_tables(made) == 1


def test_after_the_retention_an_owner_drops_them_with_a_reason(
    backed_out: tuple[World, str], capsys: pytest.CaptureFixture[str]
):
    made, incident = backed_out
    retention(made, "0s")
    made.cli(capsys, "close", incident)
    code, _ = drop(made, capsys, incident)
    assert code == 2  # a reason is needed
    code, forecast = drop(made, capsys, incident, *REASON)
    assert (code, forecast["values"], forecast["dropped"]) == (4, 1001, False)
    code, refused = drop(made, capsys, incident, *REASON, by="jonas.lind")
    assert (code, kept_tables(made)) == (3, 1)
    assert "not enrolled as owner" in refused["what"]
    code, done = drop(made, capsys, incident, *REASON, by="priya.raman")
    assert (code, done["values"], done["dropped"], kept_tables(made)) == (0, 1001, True, 0)
    assert made.one("SELECT sum(kept_values) FROM backout_kept.manifest") == 1001  # what there was
    code, refused = drop(made, capsys, incident, *REASON, by="priya.raman")
    assert (code, refused["what"]) == (3, f"{incident} keeps nothing")
    code, verified, _ = made.cli(capsys, "verify", incident)
    (kept,) = [check for check in verified["verification"]["checks"] if check["name"] == "kept"]
    assert (code, kept["state"]) == (0, "warn")
    assert kept["detail"] == "1,001 were kept, and none is there any more: dropped since"


def test_before_the_retention_is_over_it_has_to_be_said(
    backed_out: tuple[World, str], capsys: pytest.CaptureFixture[str]
):
    made, incident = backed_out
    made.cli(capsys, "close", incident)
    code, refused = drop(made, capsys, incident, *REASON, by="priya.raman")
    assert (code, kept_tables(made)) == (3, 1)
    assert "--early" in refused["next"]
    code, _ = drop(made, capsys, incident, *REASON, "--early", by="priya.raman")
    assert (code, kept_tables(made)) == (0, 0)


def test_the_age_stands_in_the_list_and_in_the_status(
    backed_out: tuple[World, str], capsys: pytest.CaptureFixture[str]
):
    made, incident = backed_out
    _, listed, _ = made.cli(capsys, "kept", "list", incident)
    assert (listed["age"]["values"], listed["age"]["over"]) == (1001, False)
    made.cli(capsys, "close", incident)
    (kept,) = status(made.desk()).kept
    assert (kept.incident, kept.over) == (incident, False)
    retention(made, "0s")
    answer = status(made.desk())
    assert [(age.incident, age.over) for age in answer.kept] == [(incident, True)]
    assert answer.next == f"backout kept drop {incident} --reason TEXT"
    (kept,) = status(Desk(Application(made.root / "gone.toml", made.state), "mara", Silent())).kept
    assert not kept.over  # without a configuration: 90 days
    drop(made, capsys, incident, *REASON, by="priya.raman")
    assert status(made.desk()).kept == ()


def test_a_drop_that_was_cut_off_goes_on(backed_out: tuple[World, str], capsys: pytest.CaptureFixture[str]):
    made, incident = backed_out
    retention(made, "0s")
    made.cli(capsys, "close", incident)
    with made.connect() as session:  # as after a kill -9 between the effect and its record
        tables = [
            row[0]
            for row in session.execute("SELECT kept_table FROM backout_kept.manifest WHERE kept_table <> ''")
        ]
        session.execute(f"DROP TABLE backout_kept.{tables[0]}")
    code, _ = drop(made, capsys, incident, *REASON, by="priya.raman")
    assert (code, kept_tables(made)) == (0, 0)
