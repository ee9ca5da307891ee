"""A migration that was applied in part is understood, cleaned up or finished; the healthy one before it is
never proposed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
import pytest

from backout.app import incidents
from backout.errors import ApprovalVoid, LockNotGranted, Refused
from backout.model.plan import Strategy, Verdict
from backout.model.triage import Applied
from backout.render.layout import Style
from backout.render.screens import open as open_screen
from tests.story import half_applied as half
from tests.story.half_applied import BAD, HEALTHY, carried_out, opened, proposed, rows
from tests.story.harness import Cut, CuttingJournal, Silent, World


@pytest.mark.parametrize(
    ("breaks_off", "note"),
    [
        (half.fails_at_build, "invalid, not ready"),
        (half.fails_at_validation, "invalid, ready: still rejects writes"),
        (half.cancelled, "invalid, ready: still rejects writes"),
    ],
)
def test_the_healthy_migration_before_it_is_never_proposed(
    heroes: World, breaks_off: Callable[[World], None], note: str
):
    half.healthy(heroes)
    breaks_off(heroes)
    with pytest.raises(Refused, match=f"{BAD} is partly applied") as refused:
        opened(heroes)
    assert refused.value.next == f"backout open --migration {BAD}"
    triage = opened(heroes, BAD).triage
    assert triage.offending == (BAD,)
    assert triage.partly_applied
    first = triage.candidates[0]
    assert (first.name, first.applied) == (BAD, Applied.PARTLY)
    assert [(e.present, e.note) for e in first.effects] == [(True, note)]


def test_one_screen_tells_it(heroes16: World):
    half.healthy(heroes16)
    half.cancelled(heroes16)
    found = opened(heroes16, BAD)
    screen = open_screen.screen(found.incident, found.triage, style=Style(), now=datetime.now(UTC))
    assert len(screen.splitlines()) <= 30
    words = " ".join(screen.split())
    assert "CREATE INDEX users_email users: there, invalid, ready: still rejects writes" in words, screen
    assert f"{HEALTHY}  applied" in screen


def test_duplicates_are_told_as_a_number_and_the_clean_up_is_recommended(heroes: World):
    half.healthy(heroes)
    half.fails_at_build(heroes)
    answer = proposed(heroes, BAD)
    found = rows(answer)
    assert set(found) == {Strategy.F_CLEAN, Strategy.F_FINISH}
    assert found[Strategy.F_CLEAN].verdict is Verdict.RECOMMENDED
    finish = found[Strategy.F_FINISH]
    assert finish.verdict is Verdict.REFUSED
    assert "(23505)" in finish.reason
    assert "5 keys of (email) more than once in public.users" in finish.reason
    assert "secret" not in json.dumps([o.reason for o in answer.proposals.options])
    ran = carried_out(heroes, answer)
    assert ran.execution.statements == ("DROP INDEX CONCURRENTLY public.users_email",)
    assert half.index_state(heroes) is None
    assert half.history(heroes) == [HEALTHY]
    assert all(check.good for check in ran.verification.checks), ran.verification.checks


def test_a_ready_index_rejects_writes_until_it_is_cleaned(heroes16: World):
    half.healthy(heroes16)
    half.fails_at_validation(heroes16)
    write = "INSERT INTO users (email) SELECT email FROM users LIMIT 1 RETURNING id"
    with pytest.raises(psycopg.errors.UniqueViolation):
        heroes16.one(write)
    carried_out(heroes16, proposed(heroes16, BAD))
    assert heroes16.one(write)


def test_it_is_completed_by_the_tool_once_nothing_stands_in_the_way(heroes: World):
    half.healthy(heroes)
    half.cancelled(heroes)
    answer = proposed(heroes, BAD)
    assert rows(answer)[Strategy.F_FINISH].verdict is Verdict.POSSIBLE
    ran = carried_out(heroes, answer, "F-finish")
    assert half.index_state(heroes) == (True, True)
    assert half.history(heroes) == [HEALTHY, BAD]
    assert {c.name: c.good for c in ran.verification.checks}["indexes"]
    assert all(check.good for check in ran.verification.checks), ran.verification.checks
    assert ran.watch is None


def test_through_the_command_line(heroes16: World, capsys: pytest.CaptureFixture[str]):
    half.healthy(heroes16)
    half.cancelled(heroes16)
    code, document, _ = heroes16.cli(capsys, "open", "--last", "1")
    assert code == 3
    assert HEALTHY in document["what"]
    code, document, _ = heroes16.cli(capsys, "open", "--migration", BAD)
    assert code == 0, document
    incident = document["incident"]["id"]
    assert heroes16.cli(capsys, "propose", incident)[0] == 4
    for person, key in heroes16.keys.items():
        given = ("--as", person, "--key", str(key), "--confirm", "heroes", "--strategy", "F-finish")
        code, document, _ = heroes16.cli(capsys, "approve", incident, *given)
        assert code == 0, document
    code, document, err = heroes16.cli(capsys, "run", incident, "--watch", "0s")
    assert code == 0, err
    assert document["outcome"] == "backed_out"
    assert half.history(heroes16) == [HEALTHY, BAD]


def test_the_client_was_killed_and_the_build_goes_on(heroes: World):
    half.healthy(heroes)
    half.bad(heroes)
    half.single_out(heroes)
    with half.held(heroes):
        half.killed_client(heroes)
        with pytest.raises(Refused, match=f"{BAD} is in progress: pid"):
            opened(heroes)
        found = opened(heroes, BAD)
        assert found.triage.candidates[0].applied is Applied.IN_PROGRESS
        answer = incidents.propose(heroes.desk(), found.incident.id)
        assert [o.verdict for o in answer.proposals.options] == [Verdict.REFUSED] * 2
        assert "is still at work on it" in answer.proposals.options[0].reason
    half.wait_for(heroes, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'users_email'::regclass")
    again = incidents.propose(heroes.desk(), found.incident.id)
    carried_out(heroes, again, "F-finish")
    assert half.index_state(heroes) == (True, True)
    assert half.history(heroes) == [HEALTHY, BAD]


THREE = (
    "ALTER TABLE users ADD COLUMN nick text",
    "CREATE UNIQUE INDEX CONCURRENTLY users_email ON users (email)",
    "CREATE INDEX CONCURRENTLY users_nick ON users (nick)",
)


def at_two_of_three(made: World) -> None:
    """Statement 2 fails; then the duplicates go, and the application fills the new column."""
    half.healthy(made)
    down = "DROP INDEX CONCURRENTLY users_nick; DROP INDEX CONCURRENTLY users_email;"
    half.bad(made, ";\n".join(THREE) + ";", f"{down} ALTER TABLE users DROP COLUMN nick;")
    assert half.run_up(made, *THREE[:2]) == ["", "23505"]
    half.single_out(made)
    with made.connect() as session:
        session.execute("UPDATE users SET nick = 'nick ' || id WHERE id <= 7")


def test_what_took_effect_is_told_statement_by_statement(heroes16: World):
    at_two_of_three(heroes16)
    first = opened(heroes16, BAD).triage.candidates[0]
    assert [effect.present for effect in first.effects] == [True, True, False]
    assert first.evidence == "no row in the history, but 2 of 3 effects are in the catalog"


def test_values_in_a_half_applied_column_are_kept_and_come_back(
    heroes16: World, capsys: pytest.CaptureFixture[str]
):
    at_two_of_three(heroes16)
    answer = proposed(heroes16, BAD)
    loss = answer.rehearsals[0].losses
    assert [(line.object, line.column, line.values.count, line.kept) for line in loss] == [
        ("public.users", "nick", 7, True)
    ]
    ran = carried_out(heroes16, answer, "F-finish")
    assert (ran.execution.values_destroyed, ran.execution.values_kept) == (7, 7)
    assert heroes16.one("SELECT count(nick) FROM users") == 0
    signed = ("--as", "priya.raman", "--key", str(heroes16.keys["priya.raman"]), "--confirm", "heroes")
    code, document, _ = heroes16.cli(
        capsys, "kept", "put-back", answer.incident.id, "--column", "nick=nick", *signed
    )
    assert code == 0, document
    assert heroes16.one("SELECT count(*) FROM users WHERE nick = 'nick ' || id") == 7


def test_a_healthy_pending_migration_casts_no_doubt(heroes16: World):
    half.healthy(heroes16)
    swap = (
        "ALTER TABLE users DROP CONSTRAINT users_pkey;"
        " ALTER TABLE users ADD CONSTRAINT users_pkey PRIMARY KEY (id);"
    )
    heroes16.migration(f"{BAD}_swap", swap, swap)
    heroes16.migration("20240301000000_more", "ALTER TABLE users ADD COLUMN more text;", "SELECT 1;")
    triage = opened(heroes16).triage
    assert (triage.offending, triage.partly_applied) == ((HEALTHY,), False)


def left_invalid(made: World) -> None:
    """The tool was run again: IF NOT EXISTS skipped the invalid index, and the history says applied."""
    half.healthy(made)
    half.bad(made, half.UNIQUE.replace("CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS"))
    half.run_up(made, half.UNIQUE)
    half.single_out(made)
    with made.connect() as session:
        session.execute("INSERT INTO schema_migrations VALUES (%s)", (BAD,))


def test_applied_but_its_index_is_invalid(heroes16: World):
    left_invalid(heroes16)
    answer = proposed(heroes16)
    assert answer.triage.offending == (BAD,)
    assert answer.triage.candidates[0].evidence.startswith(
        "applied, but its index public.users_email is invalid"
    )
    found = rows(answer)
    assert found[Strategy.A].verdict is Verdict.RECOMMENDED
    assert found[Strategy.F_FINISH].verdict is Verdict.POSSIBLE
    carried_out(heroes16, answer, "F-finish")
    assert half.index_state(heroes16) == (True, True)
    assert half.history(heroes16) == [HEALTHY, BAD]


def test_the_down_of_a_migration_with_an_invalid_index_runs(heroes16: World):
    left_invalid(heroes16)
    carried_out(heroes16, proposed(heroes16), "A")
    assert half.index_state(heroes16) is None
    assert half.history(heroes16) == [HEALTHY]


def test_an_older_migration_with_an_invalid_index_is_asked_for_by_name(heroes16: World):
    left_invalid(heroes16)
    heroes16.migration("20240301000000_more", "ALTER TABLE users ADD COLUMN more text;", "SELECT 1;")
    heroes16.applied("20240301000000", "ALTER TABLE users ADD COLUMN more text")
    with pytest.raises(Refused, match=f"{BAD} is applied, but its index public.users_email is invalid"):
        opened(heroes16)


def half_down(made: World) -> None:
    """A down of two statements: the first took its index, the second never ran."""
    half.healthy(made)
    up = "CREATE INDEX CONCURRENTLY one ON users (email); CREATE INDEX CONCURRENTLY two ON users (id);"
    half.bad(made, up, "DROP INDEX CONCURRENTLY one; DROP INDEX CONCURRENTLY two;")
    half.run_up(made, "CREATE INDEX two ON users (id)")
    with made.connect() as session:
        session.execute("INSERT INTO schema_migrations VALUES (%s)", (BAD,))


@pytest.mark.parametrize(
    ("strategy", "left"), [("F-finish", [HEALTHY, BAD]), ("F-clean", [HEALTHY])], ids=["restored", "finished"]
)
def test_a_down_that_broke_off_is_restored_or_finished(heroes16: World, strategy: str, left: list[str]):
    half_down(heroes16)
    answer = proposed(heroes16)
    assert answer.triage.candidates[0].applied is Applied.PARTLY
    assert answer.proposals.recommended == "F-finish"
    ran = carried_out(heroes16, answer, strategy)
    assert half.history(heroes16) == left
    there = half.index_state(heroes16, "one"), half.index_state(heroes16, "two")
    assert there == (((True, True),) * 2 if BAD in left else (None, None))
    assert all(check.good for check in ran.verification.checks), ran.verification.checks


def test_a_version_marked_dirty_is_cleaned_and_completed(heroes16: World):
    half.healthy(heroes16)
    directory = heroes16.root / "migrations"
    for file in directory.iterdir():
        file.unlink()
    for number, (up, down) in {
        1: ("CREATE TABLE users (id bigserial PRIMARY KEY, email text);", "DROP TABLE users;"),
        2: (half.UNIQUE, "DROP INDEX CONCURRENTLY users_email;"),
    }.items():
        (directory / f"{number}_m.up.sql").write_text(up)
        (directory / f"{number}_m.down.sql").write_text(down)
    half.run_up(heroes16, half.UNIQUE)
    half.single_out(heroes16)
    with heroes16.connect() as session:
        session.execute("DROP TABLE schema_migrations")
        session.execute("CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)")
        session.execute("INSERT INTO schema_migrations VALUES (2, true)")
    with pytest.raises(Refused, match="2 is failed or dirty"):
        opened(heroes16)
    answer = proposed(heroes16, "2")
    assert answer.proposals.recommended == "F-clean"
    carried_out(heroes16, answer, "F-finish")
    assert heroes16.one("SELECT (version, dirty) = (2, false) FROM schema_migrations")
    assert half.index_state(heroes16) == (True, True)


def test_an_index_that_became_valid_meanwhile_is_not_dropped(heroes16: World):
    half.healthy(heroes16)
    half.cancelled(heroes16)
    answer = proposed(heroes16, BAD)
    heroes16.approve(answer.incident.id)
    half.run_up(heroes16, "DROP INDEX users_email", half.UNIQUE)
    with pytest.raises(ApprovalVoid, match="the schema changed"):
        incidents.run(heroes16.desk(), answer.incident.id, {}, 0)
    assert half.index_state(heroes16) == (True, True)


def test_a_lock_that_is_not_to_be_had_stops_safely_and_names_the_holder(heroes16: World):
    half.healthy(heroes16)
    half.cancelled(heroes16)
    file = heroes16.root / "backout.toml"
    file.write_text(file.read_text() + "[budgets]\nlock_patience = 3\n")
    answer = proposed(heroes16, BAD)
    heroes16.approve(answer.incident.id)
    teller = Silent()
    with half.held(heroes16), pytest.raises(LockNotGranted, match=r"held by pid \d+ \(report\)"):
        incidents.run(heroes16.desk(teller=teller), answer.incident.id, {}, 0)
    assert any("waits for pid" in said for said in teller.said)
    assert incidents.resume(heroes16.desk(), answer.incident.id, 0).outcome == "backed_out"
    assert half.index_state(heroes16) is None


@pytest.mark.slow
@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.soak)])
def test_it_is_cut_after_every_entry_and_resumed(heroes16: World, step: int):
    """F-finish: the clean-up is its first half. In the ordinary run every fourth entry, from a random one."""
    at_two_of_three(heroes16)
    cut_after, kept = random.randrange(step), 0
    while True:
        cut_after += step if kept else 1
        answer = proposed(heroes16, BAD)
        heroes16.approve(answer.incident.id, strategy="F-finish")
        journal = CuttingJournal(heroes16.state / "journal.db", cut_after)
        try:
            incidents.run(heroes16.desk(journal), answer.incident.id, {}, 0)
            whole = True
        except Cut:
            whole = False
        journal.close()
        ran = incidents.resume(heroes16.desk(), answer.incident.id, 0)
        assert ran.outcome == "backed_out", cut_after
        assert ran.execution.values_kept == 7, cut_after
        kept += 1
        assert half.history(heroes16) == [HEALTHY, BAD], cut_after
        assert half.index_state(heroes16) == (True, True), cut_after
        manifests = heroes16.one("SELECT count(*) FROM backout_kept.manifest WHERE kept_table <> ''")
        assert manifests == kept, cut_after
        if whole:
            break
        begin_again(heroes16)


def begin_again(made: World) -> None:
    """Half applied once more, as `at_two_of_three` left it."""
    with made.connect() as session:
        session.execute("DROP INDEX IF EXISTS users_email; DROP INDEX IF EXISTS users_nick")
        session.execute("ALTER TABLE users DROP COLUMN IF EXISTS nick")
        session.execute("DELETE FROM schema_migrations WHERE version = %s", (BAD,))
        session.execute("INSERT INTO users (email) VALUES ('twice'), ('twice')")
    assert half.run_up(made, *THREE[:2]) == ["", "23505"]
    half.single_out(made)
    with made.connect() as session:
        session.execute("UPDATE users SET nick = 'nick ' || id WHERE id <= 7")
