"""The hand-over sheet: what it says, and that its commands really finish and put back, by SQL alone."""

from __future__ import annotations

import re
from dataclasses import replace

import psycopg
import pytest

from backout.model.migration import History, HistoryRow
from backout.model.plan import Finish, Strategy, ToolVerb
from backout.model.statement import Statement, StatementClass
from backout.render.known import Known
from backout.render.layout import Style
from backout.render.sheet import sheet
from backout.testing.servers import RealServer
from tests.render import samples
from tests.render.golden import FOLDER, compare

NOW = samples.at("03:20:24")
KNOWN = Known(
    samples.INCIDENT,
    triage=samples.TRIAGE,
    snapshot=samples.SNAPSHOT,
    rehearsals=(samples.REHEARSAL,),
    proposals=samples.PROPOSALS,
    approvals=(samples.SRE, samples.OWNER),
    fresh=samples.FRESH,
    contained=("etl",),
)
DONE = replace(KNOWN, execution=samples.EXECUTION)


def blocks(text: str) -> dict[str, str]:
    """The SQL of each step, under the first words of its title."""
    found = re.findall(r"^\d+\. (.{12}).*?<<'BY_HAND'\n(.*?)\nBY_HAND$", text, re.DOTALL | re.MULTILINE)
    return {title: body for title, body in found}


def test_the_sheet_of_a_run_that_has_no_end_and_of_one_that_has():
    for name, known in (("sheet_in_doubt", KNOWN), ("sheet_done", DONE)):
        text = sheet(known, style=Style(), now=NOW)
        compare(FOLDER / f"{name}.txt", text)
        assert text.splitlines()[-1].startswith("next: ")
        assert samples.SECRET not in text
    assert sheet(KNOWN, style=Style(unicode=False), now=NOW).isascii()


def test_a_sheet_of_an_incident_that_was_only_opened():
    text = sheet(Known(samples.INCIDENT), style=Style(), now=NOW)
    assert "down       not begun" in text
    assert "cannot be finished by hand" in text


def test_statements_that_cannot_share_a_transaction_stand_alone():
    rehearsal = replace(samples.REHEARSAL, transactions=0, non_transactional=("DROP INDEX CONCURRENTLY i",))
    text = sheet(replace(KNOWN, rehearsals=(rehearsal,)), style=Style(), now=NOW)
    assert "BEGIN;" not in text and "LOCK TABLE" not in text


@pytest.fixture
def migrated(pg16: RealServer):
    """A database to which the migration of the example was applied, with values written since."""
    with pg16.database() as name, pg16.connect(name) as session:
        session.autocommit = True
        session.execute(
            """CREATE TABLE hero_snapshots (id int PRIMARY KEY, strength int, source text, confidence real);
               ALTER TABLE hero_snapshots
                 ADD CONSTRAINT confidence_present CHECK (confidence IS NOT NULL) NOT VALID;
               CREATE TABLE pgmigrations (id serial, name text, run_on timestamp);
               INSERT INTO pgmigrations (name) VALUES ('1_first');
               INSERT INTO hero_snapshots VALUES (1, 5, 'api', 0.5), (2, 6, 'etl', 0.9)"""
        )
        session.execute("INSERT INTO pgmigrations (name) VALUES (%s)", (samples.NAME,))
        yield session


def columns(session: psycopg.Connection) -> list[str]:
    query = (
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'hero_snapshots' ORDER BY 1"
    )
    return [row[0] for row in session.execute(query)]


def test_following_only_the_sheet_finishes_the_down_and_loses_nothing(migrated):
    sql = blocks(sheet(KNOWN, style=Style(), now=NOW))
    migrated.execute(sql["End what is "])
    migrated.execute(sql["Did the down"])
    migrated.execute(sql["To finish th"])
    assert columns(migrated) == ["id", "power"]
    assert migrated.execute("SELECT name FROM pgmigrations").fetchall() == [("1_first",)]
    kept = migrated.execute(
        "SELECT id, source, confidence FROM backout_kept.by_hand_inc_3k9d_16402 ORDER BY id"
    )
    assert [(row[0], row[1]) for row in kept] == [(1, "api"), (2, "etl")]
    migrated.execute(sql["Verify: tabl"])


def test_following_only_the_sheet_puts_kept_values_back(migrated):
    migrated.execute(
        """CREATE SCHEMA backout_kept;
           CREATE TABLE backout_kept.k_inc_3k9d_16402_1 AS SELECT id, source, confidence FROM hero_snapshots;
           CREATE TABLE backout_kept.manifest (incident text, seq int, relation text, columns text[],
               rows bigint, kept_values bigint, lsn pg_lsn, kept_table text);
           UPDATE hero_snapshots SET source = NULL;
           UPDATE hero_snapshots SET source = 'live' WHERE id = 2"""
    )
    sql = blocks(sheet(DONE, style=Style(), now=NOW))
    migrated.execute(sql["What is kept"])
    migrated.execute(sql["To put kept "])
    rows = migrated.execute("SELECT id, source FROM hero_snapshots ORDER BY id").fetchall()
    assert rows == [(1, "api"), (2, "live")], "the kept value is back, the live one was left alone"


def test_names_that_need_quotes_are_quoted_and_history_in_the_down_is_not_removed_twice():
    hostile = 'so"ur ce'
    keep = replace(samples.KEEPS[0], columns=(hostile,))
    gone = Statement(
        "DELETE FROM public.pgmigrations WHERE name = 'x'", StatementClass.WRITE, "DELETE", ("pgmigrations",)
    )
    rehearsal = replace(samples.REHEARSAL, keeps=(keep,), statements=(*samples.DOWN, gone))
    text = sheet(replace(KNOWN, rehearsals=(rehearsal,)), style=Style(), now=NOW)
    assert '"so""ur ce"' in text
    assert text.count("DELETE FROM") == 1


def test_another_tools_history_is_left_to_people():
    history = History("public.alembic_version", (HistoryRow(1, "abc", None, None),), "alembic 1.20")
    known = replace(KNOWN, triage=replace(samples.TRIAGE, history=history))
    text = sheet(known, style=Style(), now=NOW)
    assert "-- take the row of" in text and "out of public.alembic_version, as alembic 1.20 does" in text


HALFWAY = Finish(
    steps=("DROP INDEX CONCURRENTLY public.heroes_name",),
    verb=ToolVerb.UP,
    applied=1,
    listed=False,
    lists_after=True,
    invalid=("public.heroes_name",),
    schema_between="",
)


def test_following_only_the_sheet_cleans_a_half_applied_migration_up(pg16: RealServer):
    rehearsal = replace(samples.REHEARSAL, strategy=Strategy.F_FINISH, finish=HALFWAY)
    text = sheet(replace(KNOWN, rehearsals=(rehearsal,)), style=Style(), now=NOW)
    sql = blocks(text)
    assert "Then run the migration tool's own up" in " ".join(text.split())
    with pg16.database() as name, pg16.connect(name) as session:
        session.autocommit = True
        session.execute("CREATE TABLE heroes (id int, name text)")
        session.execute("INSERT INTO heroes VALUES (1, 'Mara'), (2, 'Mara')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            session.execute("CREATE UNIQUE INDEX CONCURRENTLY heroes_name ON heroes (name)")
        look = sql["How far did "].splitlines()[0]
        assert session.execute(look).fetchall() == [("heroes_name", False, False)]
        session.execute(sql["To go on by "].splitlines()[-1])
        assert session.execute(look).fetchall() == []
