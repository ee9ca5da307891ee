"""The journal: one chain an incident, durable, and every tampering shows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backout.engine import chain
from backout.engine.journals import MemoryJournal, SqliteJournal
from backout.errors import Stopped, TamperedJournal
from backout.model.journal import Entry, EntryKind
from backout.ports.journal import Journal


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    if request.param == "memory":
        yield MemoryJournal()
        return
    opened = SqliteJournal(tmp_path / "journal.db")
    yield opened
    opened.close()


def write(journal: Journal, incident: str, count: int) -> None:
    for number in range(count):
        journal.append(incident, EntryKind.OBSERVATION, f"r1.look.{number}", {"n": number}, actor="mara")


def test_entries_come_back_in_order_and_chained(journal: Journal):
    write(journal, "inc-a", 5)
    write(journal, "inc-b", 2)
    entries = journal.read("inc-a")
    assert [e.seq for e in entries] == [1, 2, 3, 4, 5]
    assert [e.prev for e in entries[1:]] == [e.hash for e in entries[:-1]]
    assert journal.read("inc-a", after=3) == entries[3:]
    assert journal.incidents() == ("inc-a", "inc-b")
    head = journal.verify("inc-a")
    assert head is not None and head.seq == 5


def test_an_unknown_incident_has_no_entries(journal: Journal):
    assert journal.read("inc-none") == ()
    assert journal.verify("inc-none") is None


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[SqliteJournal, sqlite3.Connection]]:
    journal = SqliteJournal(tmp_path / "journal.db")
    write(journal, "inc-a", 5)
    raw = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    yield journal, raw
    raw.close()
    journal.close()


@pytest.mark.parametrize(
    "attack",
    [
        """UPDATE entry SET body = '{"n": 99}' WHERE seq = 3""",
        "UPDATE entry SET actor = 'eve' WHERE seq = 1",
        "DELETE FROM entry WHERE seq = 3",
        "UPDATE entry SET seq = CASE seq WHEN 2 THEN 30 WHEN 3 THEN 2 ELSE seq END",
    ],
    ids=["edit a body", "edit an actor", "delete", "swap"],
)
def test_an_attack_on_one_entry_shows(file: tuple[SqliteJournal, sqlite3.Connection], attack: str):
    journal, raw = file
    raw.execute(attack)
    with pytest.raises(TamperedJournal):
        journal.verify("inc-a")


def test_a_truncated_tail_shows_against_its_anchor(file: tuple[SqliteJournal, sqlite3.Connection]):
    journal, raw = file
    journal.anchor("inc-a")
    raw.execute("DELETE FROM entry WHERE seq = 5")
    with pytest.raises(TamperedJournal, match="older than its anchor"):
        journal.verify("inc-a")


def test_a_chain_computed_anew_shows_against_its_anchor():
    journal = MemoryJournal()
    write(journal, "inc-a", 3)
    anchored = {3: journal.read("inc-a")[2].hash}
    forged: list[Entry] = []
    for entry in journal.read("inc-a"):
        body = {"n": 99} if entry.seq == 2 else entry.body
        prev = forged[-1].hash if forged else chain.GENESIS
        forged.append(chain.seal(replace(entry, body=body, prev=prev)))
    assert chain.check(forged) is not None, "the chain alone cannot tell"
    with pytest.raises(TamperedJournal, match="differs from its anchor"):
        chain.check(forged, anchored=anchored)


def test_what_cannot_be_recorded_is_not_done(tmp_path: Path):
    journal = SqliteJournal(tmp_path / "journal.db")
    journal.close()
    broken = SqliteJournal(tmp_path / "journal.db")
    broken._db.execute("PRAGMA query_only = ON")
    with pytest.raises(Stopped, match="cannot be written"):
        write(broken, "inc-a", 1)
    broken.close()


def test_a_journal_in_an_impossible_place_is_said_so(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(Stopped) as caught:
        SqliteJournal(tmp_path / "file" / "journal.db")
    assert "resume" in caught.value.next
