"""Single-file migrations fall into their halves, whatever stands inside strings."""

from __future__ import annotations

import pytest

from backout.sql.scripts import is_empty, meta_commands, split_dbmate


def test_up_and_down_run_in_a_transaction_by_default():
    script = split_dbmate("-- migrate:up\nCREATE TABLE t (id int);\n\n-- migrate:down\nDROP TABLE t;\n")
    assert (script.up, script.down) == ("CREATE TABLE t (id int);", "DROP TABLE t;")
    assert script.up_transaction
    assert script.down_transaction


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_each_half_names_its_own_transaction(newline):
    text = newline.join(["--migrate:up transaction:false", "SELECT 1;", "--  migrate:down", "SELECT 2;"])
    script = split_dbmate(text)
    assert (script.up, script.down) == ("SELECT 1;", "SELECT 2;")
    assert (script.up_transaction, script.down_transaction) == (False, True)


def test_markers_inside_strings_bodies_and_comments_are_no_markers():
    up = (
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$\n-- migrate:down\n$$;\n"
        "SELECT '\n-- migrate:down\n';\n/*\n-- migrate:down\n*/\n  -- migrate:down (indented)\n"
        "-- migrate:downward"
    )
    script = split_dbmate(f"-- owner: ada\n-- migrate:up\n{up}\n-- migrate:down\nDROP FUNCTION f();")
    assert script.up == up
    assert script.down == "DROP FUNCTION f();"


def test_a_missing_down_is_not_an_empty_one():
    missing = split_dbmate("-- migrate:up\nSELECT 1;")
    empty = split_dbmate("-- migrate:up\nSELECT 1;\n-- migrate:down\n-- nothing to do\n")
    assert (missing.down, missing.has_down) == ("", False)
    assert (is_empty(empty.down), empty.has_down) == (True, True)


def test_a_file_without_markers_is_not_dbmates():
    script = split_dbmate("CREATE TABLE t (id int);")
    assert (script.up, script.down, script.has_up) == ("", "", False)


def test_the_down_may_stand_first():
    script = split_dbmate("-- migrate:down\nDROP TABLE t;\n-- migrate:up\nCREATE TABLE t (id int);")
    assert (script.up, script.down) == ("CREATE TABLE t (id int);", "DROP TABLE t;")


def test_psql_meta_commands_are_found_outside_of_strings_and_comments():
    script = "\\! rm -rf /\nSELECT '\\i no'; -- \\q\n/* \\a */ \\i other.sql\nSELECT 1 \\gexec\n"
    assert meta_commands(script) == ("\\!", "\\i", "\\gexec")
    assert meta_commands("SELECT E'a\\'b\\\\'; SELECT $$\\!$$") == ()
