"""Whose rows go along with those that a statement names, from the catalog; compared with what happens."""

from __future__ import annotations

import pytest

from backout.postgres.catalog import read_schema
from backout.postgres.following import rows_reached
from backout.testing.servers import RealServer
from tests.loss.databases import run, session_of

SETUP = """
CREATE TABLE public.labels (id int PRIMARY KEY);
CREATE TABLE public.issues (id int PRIMARY KEY, label int REFERENCES public.labels);
CREATE TABLE public.comments (id int PRIMARY KEY, issue int REFERENCES public.issues ON DELETE CASCADE);
CREATE TABLE public.likes (comment int REFERENCES public.comments ON DELETE SET NULL);
CREATE TABLE public.users (id int PRIMARY KEY);
INSERT INTO public.labels VALUES (1); INSERT INTO public.issues VALUES (1, 1);
INSERT INTO public.comments VALUES (1, 1); INSERT INTO public.likes VALUES (1);
INSERT INTO public.users VALUES (1);
"""
ALL = {"public.labels", "public.issues", "public.comments", "public.likes"}


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ("TRUNCATE labels CASCADE", ALL),
        ("TRUNCATE public.issues CASCADE", ALL - {"public.labels"}),
        ("TRUNCATE likes", {"public.likes"}),
        ("DELETE FROM issues", ALL - {"public.labels"}),
        ("DELETE FROM likes", {"public.likes"}),
        ("ALTER TABLE users ADD motto text", set()),
    ],
)
def test_every_table_that_a_statement_changes_is_named(pg: RealServer, statement: str, wanted: set[str]):
    with pg.database() as database:
        run(pg, database, SETUP)
        with session_of(pg, database) as session:
            reached = rows_reached([statement], read_schema(session))
            assert reached == wanted
            session.execute("SELECT pg_catalog.set_config('search_path', 'public', false)")
            before = {table: session.execute(f"SELECT * FROM {table}").fetchall() for table in sorted(ALL)}
            session.execute(statement.encode())
            changed = {t for t in ALL if session.execute(f"SELECT * FROM {t}").fetchall() != before[t]}
    assert changed == reached
