"""The figures of a run are measured: values destroyed apart from values kept, and the wait for the lock."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from backout.app import incidents
from backout.engine.journals import SqliteJournal
from backout.model.check import CheckState
from backout.model.journal import Entry, EntryKind
from tests.story.harness import Cut, World, apply_names, in_background, names_world


class DyingAfterTheDown(SqliteJournal):
    """The process dies between the commit of the down and its entry in the journal."""

    def append(self, incident: str, kind: EntryKind, key: str, *arguments: Any, **named: Any) -> Entry:
        if kind is EntryKind.FINISHED and key.endswith("execution.down"):
            raise Cut
        return super().append(incident, kind, key, *arguments, **named)


def _approved(made: World) -> str:
    names_world(made)
    apply_names(made)
    incident = made.open()
    incidents.propose(made.desk(), incident)
    made.approve(incident, strategy="A", accepts=("users.full_name",))
    return incident


def test_a_value_that_is_gone_from_the_kept_ones_is_counted_as_lost(heroes16: World):
    """Between the down and the resume somebody takes one value away, and the manifest with it."""
    incident = _approved(heroes16)
    journal = DyingAfterTheDown(heroes16.state / "journal.db")
    with pytest.raises(Cut):
        incidents.run(heroes16.desk(journal), incident, {}, 0)
    journal.close()
    with heroes16.connect() as session:
        session.execute("UPDATE backout_kept.manifest SET kept_values = kept_values - 1")
    ran = incidents.resume(heroes16.desk(), incident, 0)
    assert (ran.execution.values_destroyed, ran.execution.values_kept) == (1001, 1000)
    (kept,) = (check for check in ran.verification.checks if check.name == "kept")
    assert (kept.state, kept.detail) == (CheckState.FAIL, "1,000 of 1,001")


def test_the_wait_for_the_lock_is_measured(heroes16: World):
    incident = _approved(heroes16)
    with heroes16.connect() as reader:
        reader.autocommit = False
        reader.execute("SELECT count(*) FROM users")

        desk = heroes16.desk()
        said = desk.teller.said  # type: ignore[attr-defined]

        def let_go_once_it_waits(stop: threading.Event) -> None:
            while not stop.wait(0.02) and not any("waits for a lock" in text for text in said):
                pass
            reader.rollback()

        with in_background(let_go_once_it_waits):
            ran = incidents.run(desk, incident, {}, 0)
    assert 0.2 <= ran.execution.waited_seconds <= ran.execution.seconds
    assert ran.execution.values_destroyed == ran.execution.values_kept == 1001


def test_a_manifest_of_an_earlier_version_is_read_and_completed(
    heroes16: World, capsys: pytest.CaptureFixture[str]
):
    incident = _approved(heroes16)
    incidents.run(heroes16.desk(), incident, {}, 0)
    with heroes16.connect() as session:
        session.execute("ALTER TABLE backout_kept.manifest DROP COLUMN destroyed_values")
        code, document, _ = heroes16.cli(capsys, "kept", "list", incident)
        assert (code, document["columns"][0]["values"]) == (0, 1001)
        apply_names(heroes16)
        again = heroes16.open()
        incidents.propose(heroes16.desk(), again)
        heroes16.approve(again, strategy="A", accepts=("users.full_name",))
        assert incidents.run(heroes16.desk(), again, {}, 0).execution.values_destroyed == 51
        found = session.execute("SELECT destroyed_values FROM backout_kept.manifest ORDER BY at").fetchall()
    assert found == [(None,), (51,)]


def test_a_lock_that_is_granted_at_once_was_not_waited_for(heroes16: World):
    ran = incidents.run(heroes16.desk(), _approved(heroes16), {}, 0)
    assert ran.execution.waited_seconds == 0.0
