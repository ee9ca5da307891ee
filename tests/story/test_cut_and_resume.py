"""Killed anywhere, it ends the same: the story is cut after every journal entry and resumed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import pytest

from backout.app import incidents
from backout.engine.journals import SqliteJournal
from backout.errors import BackoutError
from backout.model.journal import EntryKind
from tests.story.harness import Cut, CuttingJournal, World, apply_names, names_world

ACCEPTS = ("users.full_name",)


@dataclass(frozen=True, slots=True)
class Effects:
    """What the world looks like afterwards; the same for every way through the story."""

    history: tuple[str, ...]
    columns: tuple[str, ...]
    kept_tables: int
    kept_values: int
    down_commits: int


def effects(made: World, incident: str) -> Effects:
    with made.connect() as session:
        history = [r[0] for r in session.execute("SELECT version FROM schema_migrations ORDER BY 1")]
        columns = [
            r[0]
            for r in session.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum > 0"
                " AND NOT attisdropped ORDER BY 1"
            )
        ]
        kept = session.execute(
            "SELECT count(*), coalesce(sum(kept_values), 0), count(DISTINCT xid) FROM backout_kept.manifest"
            " WHERE incident = %s",
            (incident,),
        ).fetchone()
    assert kept is not None
    return Effects(tuple(history), tuple(columns), kept[0], int(kept[1]), kept[2])


EXPECTED = Effects(("20240101000000",), ("email", "full_name", "id"), 1, 1001, 1)


def prepared(made: World) -> str:
    """An incident that only waits for the word to go."""
    names_world(made)
    apply_names(made)
    incident = made.open()
    incidents.propose(made.desk(), incident)
    made.approve(incident, strategy="A", accepts=ACCEPTS)
    return incident


def length_of_run(made: World, incident: str) -> int:
    """Entries that a run without a cut appends."""
    before = len(made.application().journal.read(incident))
    incidents.run(made.desk(), incident, {}, 0)
    return len(made.application().journal.read(incident)) - before


@pytest.mark.slow
def test_the_run_is_cut_after_every_entry_and_resumed(heroes: World):
    incident = prepared(heroes)
    entries = length_of_run(heroes, incident)
    assert effects(heroes, incident) == EXPECTED
    for cut_after in range(1, entries):
        with heroes.connect() as session:
            session.execute(
                "DROP SCHEMA backout_kept CASCADE; DROP TABLE users; DROP TABLE schema_migrations"
            )
        incident = prepared(heroes)
        journal = CuttingJournal(heroes.state / "journal.db", cut_after)
        with pytest.raises(Cut):
            incidents.run(heroes.desk(journal), incident, {}, 0)
        journal.close()
        ran = incidents.resume(heroes.desk(), incident, 0)
        assert ran.outcome == "backed_out", cut_after
        assert effects(heroes, incident) == EXPECTED, cut_after


@pytest.mark.slow
def test_the_proposal_is_cut_after_every_entry_and_continued(heroes: World):
    names_world(heroes)
    apply_names(heroes)
    incident = heroes.open()
    before = len(heroes.application().journal.read(incident))
    first = incidents.propose(heroes.desk(), incident)
    entries = len(heroes.application().journal.read(incident)) - before
    for cut_after in range(1, entries):
        incident = heroes.open()
        journal = CuttingJournal(heroes.state / "journal.db", cut_after)
        with contextlib.suppress(Cut):
            incidents.propose(heroes.desk(journal), incident)
        journal.close()
        again = incidents.propose(heroes.desk(), incident)
        assert again.proposals.proposals[0].loss == first.proposals.proposals[0].loss, cut_after
        kinds = [e.kind for e in SqliteJournal(heroes.state / "journal.db").read(incident)]
        assert kinds.count(EntryKind.DECISION) == 2, "the round went on; no second one began"


def test_a_journal_that_was_edited_stops_everything(heroes: World):
    incident = prepared(heroes)
    journal = heroes.application().journal
    journal._db.execute(
        "UPDATE entry SET body = replace(body, '1001', '1') WHERE incident = ? AND key LIKE '%rehearsal%'",
        (incident,),
    )
    with pytest.raises(BackoutError, match="was changed"):
        incidents.run(heroes.desk(), incident, {}, 0)
