"""One server, no WAL archive, only last night's `pg_dump | gzip`, and a dropped column."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from backout.cli import command_line
from backout.postgres.binaries import client_for
from tests.story.harness import PEOPLE, World, apply_names, names_world

DUMPS = {
    "plain": "pg_dump --dbname={dsn} | gzip > {to}",
    "custom": "pg_dump --format=custom --dbname={dsn} > {to}",
}
TAKEN = "2026-11-28T02:00:00+00:00"


def nightly(made: World, form: str = "plain") -> str:
    """What cron does every night."""
    path = made.root / "db.dump"
    program = client_for(made.server.major).program("pg_dump")
    line = DUMPS[form].replace("pg_dump", str(program), 1).format(dsn=made.dsn, to=path)
    subprocess.run(["sh", "-c", line], check=True, capture_output=True)
    return str(path)


def since_the_dump(made: World) -> None:
    """What the application wrote between the dump and the migration: all of it is in no dump."""
    with made.connect() as session:
        session.execute("INSERT INTO users (full_name, email) VALUES ('after the dump', 'late@x')")
        session.execute("UPDATE users SET full_name = 'newer than the dump' WHERE id = 7")
        session.execute("DELETE FROM users WHERE id = 8")


def approve_by_name(made: World, capsys: pytest.CaptureFixture[str], told: str) -> None:
    """What `propose` told is refused without the name, with a command that has it; that one signs."""
    for person in PEOPLE:
        sign = ("--key", str(made.keys[person]), "--confirm", "heroes")
        code, document, _ = made.cli(capsys, *shlex.split(told)[1:], "--as", person, *sign)
        assert (code, document["what"]) == (2, "accept by name what D does not give back: stale users")
        code, document, err = made.cli(capsys, *shlex.split(document["next"])[1:], *sign)
        assert code == 0, (document, err)


@pytest.mark.parametrize("form", sorted(DUMPS))
@pytest.mark.proves(
    claim="Strategy D from a nightly dump alone: every value that was in it is back, marked as old",
    on="pg_dump through gzip, and custom format; one machine, loopback",
    rights="plain owner",
    versions="16",
    size="1,001 rows",
)
def test_every_value_of_the_nightly_dump_is_back_marked_and_rows_newer_than_it_are_listed(
    heroes16: World, capsys: pytest.CaptureFixture[str], form: str
):
    made = heroes16
    names_world(made)
    path = nightly(made, form)
    since_the_dump(made)
    apply_names(made)
    code, document, err = made.cli(capsys, "snapshot", "adopt", path, "--taken-at", TAKEN)
    assert code == 0, (document, err)
    assert document["snapshot"]["kind"] == "adopted"
    code, document, _ = made.cli(capsys, "open", "--symptom", "names are missing")
    assert (code, made.one("SHOW archive_mode")) == (0, "off")
    code, proposed, _ = made.cli(capsys, "propose")
    (option,) = [o for o in proposed["proposals"]["options"] if o["strategy"] == "D"]
    assert (code, option["verdict"]) == (4, "possible")
    assert f"as of {TAKEN}, up to an unknown number of transactions stale" in option["reason"]
    approve_by_name(made, capsys, proposed["next"])
    (rehearsed,) = [r for r in proposed["rehearsals"] if r["strategy"] == "D"]
    assert {x["values"]["basis"] for x in rehearsed["losses"] if x["by"] == "up"} == {"stale"}, "never exact"
    code, ran, err = made.cli(capsys, "run", "--application", "v41", "--watch", "0s")
    assert code == 0, (ran, err)
    assert ran["repaired"]["label"].startswith(f"as of {TAKEN}")
    assert made.one("SELECT count(*) FROM users WHERE full_name = 'name ' || id") == 999, (
        "all but the deleted"
    )
    assert made.one("SELECT full_name FROM users WHERE id = 7") == "name 7", "as of the dump"
    assert made.one("SELECT count(*) FROM users WHERE id = 8") == 0, "deleted by the application: stays so"
    assert made.one("SELECT full_name FROM users WHERE email = 'late@x'") is None
    newer_rows_are_listed(made, capsys)


def newer_rows_are_listed(made: World, capsys: pytest.CaptureFixture[str]) -> None:
    """One written between dump and migration, one after the migration: by key, and on the screen."""
    code, listed, _ = made.cli(capsys, "parked", "list")
    newer = [row for row in listed["rows"] if row["reason"].startswith("newer than the snapshot")]
    with made.connect() as session:
        wanted = session.execute("SELECT id FROM users WHERE email IN ('late@x', 'new@x')").fetchall()
    assert (code, len(newer), len(wanted)) == (0, 2, 2)
    assert all(any(str(key) in str(row) for row in newer) for (key,) in wanted), newer
    assert command_line(["parked", "list", "--config", str(made.root / "backout.toml")]) == 0
    assert "newer than the snapshot" in capsys.readouterr().out


def test_a_backup_that_changed_since_it_was_adopted_is_refused(
    heroes16: World, capsys: pytest.CaptureFixture[str]
):
    names_world(heroes16)
    path = nightly(heroes16)
    apply_names(heroes16)
    assert heroes16.cli(capsys, "snapshot", "adopt", path, "--target", "heroes")[0] == 0
    (heroes16.root / "db.dump").write_bytes(b"something else")
    incident = heroes16.open()
    code, document, _ = heroes16.cli(capsys, "propose", incident)
    assert code == 3
    assert "is not the backup any more that was adopted" in document["what"]


def test_a_backup_adopted_in_an_incident_leads_on_to_its_next_proposal(
    heroes16: World, capsys: pytest.CaptureFixture[str]
):
    made = heroes16
    names_world(made)
    path = nightly(made)
    apply_names(made)
    code, opened, _ = made.cli(capsys, "open", "--symptom", "names are missing")
    assert code == 0
    code, adopted, err = made.cli(capsys, "snapshot", "adopt", path, "--taken-at", TAKEN)
    assert (code, adopted["next"]) == (0, f"backout propose {opened['incident']['id']}"), err
