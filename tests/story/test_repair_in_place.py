"""Strategy D, end to end: the down, then everything that the up destroyed is back, with the writes since."""

from __future__ import annotations

import pytest

from backout.app import incidents
from backout.model.check import CheckState
from backout.model.plan import Strategy, Verdict
from tests.story.harness import Cut, CuttingJournal, World, apply_names, names_world

STALE = ("stale users",)


def calm_day(made: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A snapshot is proved, then nobody writes until the migration."""
    names_world(made)
    code, _, err = made.cli(capsys, "snapshot", "prove", "--target", "heroes")
    assert code == 0, err


def test_what_the_up_destroyed_is_back_and_every_write_since_stands(
    heroes: World, capsys: pytest.CaptureFixture[str]
):
    calm_day(heroes, capsys)
    apply_names(heroes)
    with heroes.connect() as session:
        session.execute("DELETE FROM users WHERE id = 60; UPDATE users SET email = 'moved' WHERE id = 61")
    incident = heroes.open()
    proposed = incidents.propose(heroes.desk(), incident)
    rows = {option.strategy: option for option in proposed.proposals.options}
    assert rows[Strategy.A].verdict is Verdict.ADVISED_AGAINST
    assert rows[Strategy.D].verdict is Verdict.POSSIBLE
    assert rows[Strategy.D].reason.startswith("brings 999 values back")
    assert "what others committed while the migration ran is not in it" in rows[Strategy.D].reason
    heroes.approve(incident, strategy="D", accepts=STALE)
    ran = incidents.run(heroes.desk(), incident, {}, 0)
    assert ran.execution.strategy == "D"
    assert (ran.execution.values_destroyed, ran.execution.values_kept) == (1000, 1000)
    assert heroes.one("SELECT count(*) FROM users WHERE full_name = 'name ' || id") == 999
    assert heroes.one("SELECT email FROM users WHERE id = 61") == "moved"
    assert heroes.one("SELECT count(*) FROM users WHERE id = 60") == 0
    assert heroes.one("SELECT full_name FROM users WHERE email = 'new@x'") is None, "it never had one"
    checks = {check.name: check for check in ran.verification.checks}
    assert checks["repaired"].state is CheckState.PASS
    assert "0 rows need a person, 2 are listed" in checks["parked"].detail


def test_a_snapshot_is_exact_only_when_surely_nobody_committed_before_the_migration_did(
    heroes: World, capsys: pytest.CaptureFixture[str]
):
    calm_day(heroes, capsys)
    text = (heroes.root / "migrations" / "20240201000000_first_name.sql").read_text()
    heroes.applied("20240201000000", text.split("-- migrate:down")[0].removeprefix("-- migrate:up\n"))
    proposed = incidents.propose(heroes.desk(), heroes.open())
    assert proposed.proposals.recommended == "D"
    assert next(p for p in proposed.proposals.proposals if p.strategy is Strategy.D).accept_by_name == ()


def test_a_snapshot_with_writes_between_is_offered_as_stale_and_only_by_name(
    heroes16: World, capsys: pytest.CaptureFixture[str]
):
    calm_day(heroes16, capsys)
    with heroes16.connect() as session:
        for row in range(1, 4):
            session.execute("UPDATE users SET full_name = 'later' WHERE id = %s", (row,))
    apply_names(heroes16)
    proposed = incidents.propose(heroes16.desk(), heroes16.open())
    option = next(o for o in proposed.proposals.options if o.strategy is Strategy.D)
    assert option.verdict is Verdict.POSSIBLE
    assert "up to 3 transactions stale" in option.reason
    proposal = next(p for p in proposed.proposals.proposals if p.strategy is Strategy.D)
    assert proposal.accept_by_name == STALE


def truncated(heroes16: World, capsys: pytest.CaptureFixture[str]) -> str:
    """A snapshot, a reviewed TRUNCATE ... CASCADE, and writes since; the incident is open."""
    first = (
        "CREATE TABLE users (id bigint PRIMARY KEY, full_name text);"
        "CREATE TABLE notes (id bigserial PRIMARY KEY, author bigint NOT NULL REFERENCES users, body text);"
    )
    heroes16.migration("20240101000000_first", first, "DROP TABLE notes; DROP TABLE users;")
    heroes16.migration("20240201000000_truncate", "TRUNCATE users CASCADE;", "SELECT 1;")
    with heroes16.connect() as session:
        session.execute("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    heroes16.applied("20240101000000", first)
    with heroes16.connect() as session:
        session.execute("INSERT INTO users SELECT i, 'name ' || i FROM generate_series(1, 500) i")
        session.execute(
            "INSERT INTO notes (author, body) SELECT i % 500 + 1, 'n' FROM generate_series(1, 2000) i"
        )
    heroes16.write_config()
    assert heroes16.cli(capsys, "snapshot", "prove", "--target", "heroes")[0] == 0
    heroes16.applied("20240201000000", "TRUNCATE users CASCADE;")
    with heroes16.connect() as session:
        session.execute("INSERT INTO users VALUES (7, 'somebody else'), (9000, 'new')")
        session.execute("INSERT INTO notes (author, body) VALUES (9000, 'mine')")
    return heroes16.open()


def test_truncate_cascade_is_undone_beside_the_application(
    heroes16: World, capsys: pytest.CaptureFixture[str]
):
    incident = truncated(heroes16, capsys)
    proposed = incidents.propose(heroes16.desk(), incident)
    option = next(o for o in proposed.proposals.options if o.strategy is Strategy.D)
    assert option.verdict in (Verdict.RECOMMENDED, Verdict.POSSIBLE), option
    heroes16.approve(incident, strategy="D", accepts=("stale notes", "stale users"))
    ran = incidents.run(heroes16.desk(), incident, {}, 0)
    assert heroes16.one("SELECT count(*) FROM users") == 501
    assert heroes16.one("SELECT full_name FROM users WHERE id = 7") == "somebody else", "never overlaid"
    assert heroes16.one("SELECT count(*) FROM notes") == 2001
    checks = {check.name: check for check in ran.verification.checks}
    assert "1 rows need a person" in checks["parked"].detail


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_repair_is_cut_after_every_entry_and_resumed(heroes16: World, capsys: pytest.CaptureFixture[str]):
    calm_day(heroes16, capsys)
    apply_names(heroes16)
    incident = heroes16.open()
    incidents.propose(heroes16.desk(), incident)
    heroes16.approve(incident, strategy="D", accepts=STALE)
    for cut_after in range(1, 60):
        journal = CuttingJournal(heroes16.state / "journal.db", cut_after)
        try:
            ran = incidents.run(heroes16.desk(journal), incident, {}, 0)
        except Cut:
            continue
        finally:
            journal.close()
        break
    assert ran.outcome == "backed_out"
    assert heroes16.one("SELECT count(*) FROM users WHERE full_name = 'name ' || id") == 1000
    assert heroes16.one("SELECT count(*) FROM backout_kept.manifest") == 1
    assert heroes16.one("SELECT sum((figures->>'updated')::int) FROM backout.done") == 1000


def test_the_parked_row_is_shown_and_resolved_once_by_a_signature(
    heroes16: World, capsys: pytest.CaptureFixture[str]
):
    incident = truncated(heroes16, capsys)
    incidents.propose(heroes16.desk(), incident)
    heroes16.approve(incident, strategy="D", accepts=("stale notes", "stale users"))
    incidents.run(heroes16.desk(), incident, {}, 0)
    code, listed, _ = heroes16.cli(capsys, "parked", "list", incident)
    assert (code, listed["open"]) == (0, 1)
    row = next(r for r in listed["rows"] if r["fate"] == "parked")
    assert (row["relation"], row["key"], row["resolution"]) == ("public.users", ["7"], "")
    number = str(row["number"])
    code, shown, _ = heroes16.cli(capsys, "parked", "show", incident, number)
    assert shown["before"] == {"id": "(1 characters)", "full_name": "(6 characters)"}
    code, shown, _ = heroes16.cli(capsys, "parked", "show", incident, number, "--reveal")
    assert shown["before"]["full_name"] == "name 7"
    resolve = ("parked", "resolve", incident, number, "--take", "before")
    code, asked, _ = heroes16.cli(capsys, *resolve)
    assert code == 4 and asked["next"].endswith("--as NAME")
    signed = ("--as", "priya.raman", "--key", str(heroes16.keys["priya.raman"]), "--confirm", "heroes")
    code, done, _ = heroes16.cli(capsys, *resolve, *signed)
    assert (code, done["applied"], done["open"]) == (0, 1, 0)
    assert heroes16.one("SELECT full_name FROM users WHERE id = 7") == "name 7"
    code, again, _ = heroes16.cli(capsys, *resolve, *signed)
    assert (code, again["what"]) == (3, "public.users 7 was resolved before")
