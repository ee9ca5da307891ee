"""Scripts fall into their statements, also broken ones, and no text whatever makes the reader raise."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backout.model.statement import Statement, StatementClass
from backout.sql import lexer, tree
from backout.sql.effects import effects
from backout.sql.parse import isolation_asked, statements
from backout.sql.scripts import meta_commands, split_dbmate
from backout.sql.verdict import read_down

TRICKY = (
    "SELECT 1",
    "SELECT ';'",
    "SELECT 'it''s; fine'",
    r"SELECT E'a\';b'",
    'SELECT ";" FROM "a;b"',
    "SELECT $$;$$",
    "SELECT $tag$ ; $$ ; $tag$",
    "SELECT 1 /* ; /* nested ; */ ; */ + 1",
    "SELECT 1 -- ; comment\n + 2",
    "SELECT 'ünï;cödé', '😀'",
    "DO $do$ BEGIN DELETE FROM t; END $do$",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b)",
    "SELECT U&'d\\0061t;' , B'1', x'1F', $1",
    "INSERT INTO t VALUES (1, ';'), (2, $a$b$a$)",
    "CREATE TABLE a$b (c int)",
)
GLUE = st.sampled_from([";", " ; ", ";\n-- note; with semicolon\n", ";;", "; /* ; */ "])


@given(st.lists(st.sampled_from(TRICKY), min_size=1, max_size=6), st.lists(GLUE, min_size=6, max_size=6))
@settings(deadline=None, max_examples=60)
def test_statements_put_together_come_apart_again(parts, glue):
    script = "".join(part + joint for part, joint in zip(parts, glue, strict=False))
    assert [statement.text for statement in statements(script)] == parts


@given(st.lists(st.sampled_from(TRICKY), min_size=1, max_size=6), GLUE)
@settings(deadline=None, max_examples=60)
def test_the_lexer_splits_where_the_parser_splits(parts, glue):
    assert lexer.split(glue.join(parts)) == tuple(parts)


@given(st.lists(st.sampled_from(TRICKY), min_size=1, max_size=5), GLUE)
@settings(deadline=None, max_examples=40)
def test_one_broken_statement_hides_no_other(parts, glue):
    found = statements(glue.join([*parts, "DROP TABEL users", "DROP TABLE users"]))
    assert [statement.text for statement in found] == [*parts, "DROP TABEL users", "DROP TABLE users"]
    assert [s.klass for s in found[-2:]] == [StatementClass.UNKNOWN, StatementClass.DDL]


SNIPPETS = st.sampled_from(
    [*TRICKY, "'", '"', "$$", "$a$", "/*", "*/", "--", "\\i x\n", ";", "(", ")", "\0", "E'\\", "BEGIN ATOMIC"]
)


@given(st.lists(st.one_of(SNIPPETS, st.text(max_size=20)), max_size=12).map("".join))
@settings(deadline=None, max_examples=150)
def test_no_text_makes_the_reader_raise(text):
    statements(text)
    effects(text)
    isolation_asked(text)
    split_dbmate(text)
    meta_commands(text)
    read_down(text, text)


@given(st.text(st.characters(categories=None), max_size=40))
@settings(deadline=None, max_examples=60)
def test_the_lexer_leaves_no_gap(text):
    ends = [0]
    for token in lexer.tokens(text):
        assert token.start == ends[-1] < token.end
        ends.append(token.end)
    assert ends[-1] == len(text)


def test_lone_surrogates_are_read_like_any_text():
    assert statements("SELECT '\ud800'; DROP TABLE t")[1].tag == "DROP TABLE"


def test_nothing_but_comments_is_no_statement():
    assert statements(" -- nothing\n/* at all */ ;;") == ()
    assert statements("") == ()


def test_meta_commands_and_copy_data_do_not_spoil_the_rest():
    script = (
        "\\set ON_ERROR_STOP on\nCREATE TABLE t (a text);\nCOPY t FROM stdin;\nit's; here\n\\.\n"
        "DROP TABLE t;\n\\! rm -rf /\nSELECT 1"
    )
    found = statements(script)
    assert [s.text for s in found] == [
        "\\set ON_ERROR_STOP on",
        "CREATE TABLE t (a text)",
        "COPY t FROM stdin",
        "DROP TABLE t",
        "\\! rm -rf /",
        "SELECT 1",
    ]
    assert [s.klass.value for s in found] == ["unknown", "ddl", "write", "ddl", "unknown", "read"]


DEEP = {
    "operators": lambda n: "SELECT " + "||".join(["a"] * n),
    "casts": lambda n: "SELECT 1" + "::int" * n,
    "joins": lambda n: "SELECT 1 FROM a" + " CROSS JOIN b" * n,
    "unions": lambda n: " UNION ".join(["SELECT 1, 2"] * n),
    "calls": lambda n: "SELECT " + "f(" * n + ")" * n,
    "negations": lambda n: "SELECT " + "NOT " * n + "true",
    "parentheses": lambda n: "SELECT " + "(" * n + "1" + ")" * n,
    "signs": lambda n: "SELECT a" + "+a" * n,
    "indirection": lambda n: "SELECT a" + "[1]" * n,
    "cases": lambda n: "SELECT " + "CASE WHEN true THEN " * n + "1" + " END" * n,
}


LEFT_RECURSIVE = ("operators", "casts", "joins", "unions", "signs")  # bison stops the others by itself


@pytest.mark.parametrize(
    ("shape", "depth"),
    [*((s, n) for s in DEEP for n in (60, 1_900)), *((s, 25_000) for s in LEFT_RECURSIVE)],
)
def test_deep_nesting_neither_crashes_nor_hides_the_next_statement(shape, depth):
    """The parser's library ends the process from some 20,000 levels on; a thread's stack is smaller yet."""
    found: list[Statement] = []
    thread = threading.Thread(
        target=lambda: found.extend(statements(DEEP[shape](depth) + "; DROP TABLE users"))
    )
    thread.start()
    thread.join()
    assert found[-1].tag == "DROP TABLE"


def test_a_long_flat_statement_is_read():
    rows = ", ".join(f"({n}, 'row; {n}')" for n in range(20_000))
    (statement,) = statements(f"INSERT INTO public.users (id, name) VALUES {rows}")
    assert (statement.klass, statement.objects) == (StatementClass.WRITE, ("public.users",))
    conditions = " OR ".join(f"id = {n} AND true" for n in range(5_000))
    assert statements(f"SELECT 1 FROM t WHERE {conditions}")[0].klass is StatementClass.READ


def test_offsets_hold_behind_characters_of_several_bytes():
    assert [f.text for f in tree.fragments("SELECT 'äöü€😀'; SELECT 2; SELECT 'ß' -- ü")] == [
        "SELECT 'äöü€😀'",
        "SELECT 2",
        "SELECT 'ß'",
    ]
