"""Kept values that do not go back simply: no key, several places, a type or a rule that refuses them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from backout.app import incidents
from backout.cli import command_line
from tests.story.harness import World, names_world

SECRET = "value-canary-7"
UP = """ALTER TABLE users ADD COLUMN nick text;
ALTER TABLE pairs ADD COLUMN nick text;
ALTER TABLE super_users ADD COLUMN nick text, ADD COLUMN "odd; col" text,
  ADD COLUMN share numeric DEFAULT 1.239;"""
DOWN = """UPDATE users SET email = 'x' WHERE id = 20;
UPDATE users SET email = 'y' WHERE id = 20;
DELETE FROM users WHERE id <= 10;
DELETE FROM pairs WHERE b = 'b3';
ALTER TABLE users DROP COLUMN nick;
ALTER TABLE pairs DROP COLUMN nick;
ALTER TABLE super_users DROP COLUMN nick, DROP COLUMN "odd; col", DROP COLUMN share;"""


def backed_out(made: World) -> str:
    """A down that deletes, changes and drops, on tables with and without a key; executed."""
    names_world(made)
    (made.root / "migrations" / "20240201000000_first_name.sql").unlink()
    made.migration("20240201000000_nick", UP, DOWN)
    with made.connect() as session:
        session.execute(
            "CREATE TABLE super_users"
            " (id int PRIMARY KEY, n int, short varchar(3) UNIQUE, tenth numeric(4,1))"
        )
        session.execute("INSERT INTO super_users SELECT i FROM generate_series(1, 3) i")
        session.execute("CREATE TABLE pairs (a int, b text)")
        session.execute("INSERT INTO pairs VALUES (1, 'b'), (1, 'b'), (2, 'b3')")
    made.applied("20240201000000", UP)
    with made.connect() as session:
        session.execute("UPDATE users SET nick = 'nick ' || id WHERE id <= 30")
        session.execute("UPDATE pairs SET nick = 'p' || ctid::text")
        session.execute("UPDATE super_users SET nick = %s, \"odd; col\" = 'o'", (SECRET,))
    made.floor = 0
    made.write_config()
    incident = made.open()
    found = incidents.propose(made.desk(), incident)
    assert found.proposals.recommended == "A", found.proposals.options
    made.approve(incident)
    ran = incidents.run(made.desk(), incident, {}, 0)
    predicted = sum(loss.values.count or 0 for loss in found.rehearsals[0].losses)
    assert ran.execution.values_destroyed == ran.execution.values_kept == predicted
    return incident


def test_what_does_not_go_back_simply(heroes16: World, capsys: pytest.CaptureFixture[str]):
    """Rows that go before their column does are counted once, and every way back is told apart."""
    incident = backed_out(heroes16)
    put_back = ("kept", "put-back", incident, "--column")
    signed = ("--as", "priya.raman", "--key", str(heroes16.keys["priya.raman"]), "--confirm", "heroes")

    # a column that three tables have, and one whose name ends in the other's
    code, document, _ = heroes16.cli(capsys, *put_back, "nick=full_name")
    assert (code, "public.super_users.nick" in document["next"]) == (2, True), document
    code, document, _ = heroes16.cli(capsys, *put_back, "users.nick=full_name")
    assert (code, document["written"], document["already_there"]) == (4, 0, 20), document
    assert document["next"].endswith("--column users.nick=full_name --overwrite"), document
    code, document, _ = heroes16.cli(capsys, *put_back, "users.nick=full_name", *signed, "--overwrite")
    assert (code, document["written"], document["row_gone"]) == (0, 20, 10), document
    assert heroes16.one("SELECT full_name FROM users WHERE id = 30") == "nick 30"

    # two equal rows without a key: nobody knows which value was whose
    code, document, _ = heroes16.cli(capsys, *put_back, "pairs.nick=b")
    assert (code, "has no key" in document["what"]) == (3, True), document

    # an explicit cast would cut off, an assignment would round: both in silence
    code, document, _ = heroes16.cli(capsys, *put_back, "super_users.share=tenth")
    assert (code, "would be rounded" in document["what"]) == (3, True), document

    # into a number, into three letters, into a unique column: by the rule, never with the value
    for place, rule in (("n", "22P02"), ("short", "22001")):
        code, document, err = heroes16.cli(capsys, *put_back, f"super_users.nick={place}", *signed)
        assert (code, rule in document["what"]) == (3, True), document
        assert SECRET not in str(document) + err
    with heroes16.connect() as session:
        session.execute("ALTER TABLE super_users ALTER short TYPE text")
    code, document, err = heroes16.cli(capsys, *put_back, "super_users.nick=short", *signed)
    assert (code, "unique constraint super_users_short_key" in document["what"]) == (3, True), document
    assert SECRET not in str(document) + err

    # the rows come back, and only where their key is free
    code, document, _ = heroes16.cli(capsys, "kept", "put-back", incident, "--rows", "users", *signed)
    assert (code, document["written"]) == (0, 10), document


def test_a_command_that_names_a_column_can_be_pasted(heroes16: World, capsys: pytest.CaptureFixture[str]):
    incident = backed_out(heroes16)
    code, document, _ = heroes16.cli(
        capsys, "kept", "put-back", incident, "--column", "super_users.odd; col=short"
    )
    assert code == 4
    assert "super_users.odd; col=short" in shlex.split(document["next"])
    code, document, _ = heroes16.cli(capsys, "kept", "list", incident)
    assert len(shlex.split(document["next"])) == 6


def test_rows_that_went_whole_come_back_by_rows_and_a_table_that_is_gone_is_called_gone(
    heroes16: World, capsys: pytest.CaptureFixture[str]
):
    names_world(heroes16)
    (heroes16.root / "migrations" / "20240201000000_first_name.sql").unlink()
    up = "ALTER TABLE users ADD CHECK (id > 0);"
    heroes16.migration("20240201000000_check", up, "DELETE FROM users WHERE id <= 10;")
    heroes16.applied("20240201000000", up)
    heroes16.floor = 0
    heroes16.write_config()
    incident = heroes16.open()
    incidents.propose(heroes16.desk(), incident)
    heroes16.approve(incident)
    incidents.run(heroes16.desk(), incident, {}, 0)
    code, document, _ = heroes16.cli(capsys, "kept", "list", incident)
    assert code == 0
    assert {column["place_today"] for column in document["columns"]} == {"whole rows"}
    assert document["next"] == f"backout kept put-back {incident} --rows public.users"
    code, shown, _ = heroes16.cli(capsys, "kept", "show", incident, "--limit", "1")
    (table,) = shown["tables"]
    first = dict(zip(table["names"], table["rows"][0], strict=True))
    assert first == {"id": "(bigint, 1)", "full_name": "(text, 6)", "email": "(text, 3)"}
    code, document, _ = heroes16.cli(capsys, *shlex.split(document["next"])[1:])
    assert (code, document["written"]) == (4, 10), document

    with heroes16.connect() as session:
        session.execute("DROP TABLE users")
    for asked in (("--rows", "users"), ("--column", "email")):
        code, document, _ = heroes16.cli(capsys, "kept", "put-back", incident, *asked)
        assert (code, document["what"]) == (3, "public.users does not exist any more"), document
    code, document, _ = heroes16.cli(capsys, "kept", "list", incident)
    assert {column["place_today"] for column in document["columns"]} == {"table gone"}
    assert document["next"] == f"backout kept export {incident}"


def test_nobody_sees_a_traceback_or_a_value_when_the_server_says_no(
    heroes16: World, capsys: pytest.CaptureFixture[str]
):
    names_world(heroes16)
    with heroes16.server.connect(heroes16.database) as admin:
        admin.execute("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC")
        capsys.readouterr()
        code = command_line(["open", "--config", str(heroes16.root / "backout.toml")])
        admin.execute("GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO PUBLIC")
    shown = capsys.readouterr().err
    assert code == 3
    assert "Traceback" not in shown
    assert "42501" in shown
    (written,) = Path(heroes16.state / "errors").iterdir()
    assert written.stat().st_mode & 0o077 == 0
