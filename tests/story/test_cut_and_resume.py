"""Killed anywhere, it ends the same: the story is cut after every journal entry and resumed."""

from __future__ import annotations

import contextlib
import random
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


EVERY = pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.soak), 4])
"""The whole sweep is a long one; the ordinary run takes every fourth entry, from another one on each time."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@EVERY
def test_the_run_is_cut_after_every_entry_and_resumed(heroes16: World, step: int):
    incident = prepared(heroes16)
    entries = length_of_run(heroes16, incident)
    assert effects(heroes16, incident) == EXPECTED
    for cut_after in range(random.randint(1, step), entries, step):
        with heroes16.connect() as session:
            session.execute(
                "DROP SCHEMA backout_kept CASCADE; DROP TABLE users; DROP TABLE schema_migrations"
            )
        incident = prepared(heroes16)
        journal = CuttingJournal(heroes16.state / "journal.db", cut_after)
        with pytest.raises(Cut):
            incidents.run(heroes16.desk(journal), incident, {}, 0)
        journal.close()
        ran = incidents.resume(heroes16.desk(), incident, 0)
        assert ran.outcome == "backed_out", cut_after
        assert effects(heroes16, incident) == EXPECTED, cut_after


@pytest.mark.slow
@pytest.mark.timeout(900)
@EVERY
def test_the_proposal_is_cut_after_every_entry_and_continued(heroes16: World, step: int):
    names_world(heroes16)
    apply_names(heroes16)
    incident = heroes16.open()
    before = len(heroes16.application().journal.read(incident))
    first = incidents.propose(heroes16.desk(), incident)
    written = heroes16.application().journal.read(incident)[before:]
    proposed_at = 1 + next(
        n for n, e in enumerate(written) if e.kind is EntryKind.FINISHED and "strategy" in e.key
    )
    for cut_after in range(random.randint(1, step), len(written), step):
        incident = heroes16.open()
        journal = CuttingJournal(heroes16.state / "journal.db", cut_after)
        with contextlib.suppress(Cut):
            incidents.propose(heroes16.desk(journal), incident)
        journal.close()
        again = incidents.propose(heroes16.desk(), incident)
        assert again.proposals.proposals[0].loss == first.proposals.proposals[0].loss, cut_after
        found = SqliteJournal(heroes16.state / "journal.db").read(incident)
        rounds = [e for e in found if e.kind is EntryKind.DECISION and e.key.endswith(".begin")]
        assert len(rounds) == (1 if cut_after < proposed_at else 2), "only a round with a proposal is over"


def test_a_journal_that_was_edited_stops_everything(heroes16: World):
    incident = prepared(heroes16)
    journal = heroes16.application().journal
    journal._db.execute(
        "UPDATE entry SET body = replace(body, '1001', '1') WHERE incident = ? AND key LIKE '%rehearsal%'",
        (incident,),
    )
    with pytest.raises(BackoutError, match="was changed"):
        incidents.run(heroes16.desk(), incident, {}, 0)
