"""What an up destroyed and its down does not give back, against a snapshot from before the up."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from backout.model.loss import DestroyedBy, Figure, Loss, LossKind
from backout.postgres.losses import measure_up
from backout.testing.servers import RealServer
from tests.loss.databases import pair, run, session_of

SETUP = """
CREATE TABLE public.users (id int PRIMARY KEY, full_name text, age int);
INSERT INTO public.users SELECT g, 'name ' || g, g FROM pg_catalog.generate_series(1, 1000) g;
CREATE TABLE public.tags (id int PRIMARY KEY, word text, note text);
INSERT INTO public.tags SELECT g, 'w' || g FROM pg_catalog.generate_series(1, 40) g;
CREATE TABLE public.log (at int, what text);
INSERT INTO public.log SELECT g % 3, 'x' FROM pg_catalog.generate_series(1, 30) g;
"""
UP = """ALTER TABLE public.users ADD first_name text; UPDATE public.users SET first_name = full_name;
ALTER TABLE public.users DROP full_name;"""
APP = """UPDATE public.users SET first_name = 'edited' WHERE id <= 50; UPDATE public.users SET age = 0
WHERE id = 7; INSERT INTO public.users VALUES (5000, 1, 'new');"""


@contextmanager
def _measured(
    server: RealServer, up: str, app: str, down: str, written: frozenset[str] | None = frozenset()
) -> Iterator[dict[tuple[str, str, LossKind], Figure]]:
    with server.database() as snapshot, server.database() as now:
        run(server, snapshot, SETUP)
        for each in (SETUP, up, app):
            run(server, now, each or "SELECT 1")
        with (
            pair(server, now, down or "SELECT 1") as (current, after),
            session_of(server, snapshot) as before,
        ):
            found = measure_up(before, current, after, written_by_up=written)
        assert all(loss.by is DestroyedBy.UP for loss in found)
        yield {(x.object, x.column, x.kind): x.values for x in found}


def test_a_column_that_the_up_dropped_and_the_down_gives_back_empty(pg: RealServer):
    down = "ALTER TABLE public.users ADD full_name text; ALTER TABLE public.users DROP first_name"
    with _measured(pg, UP, APP, down) as found:
        assert found == {("public.users", "full_name", LossKind.COLUMN_GONE): Figure.exact(1000)}


def test_a_down_that_fills_the_column_again_gives_back_what_the_application_has_now(pg16: RealServer):
    down = """ALTER TABLE public.users ADD full_name text; UPDATE public.users SET full_name = first_name;
    ALTER TABLE public.users DROP first_name"""
    with _measured(pg16, UP, APP, down) as found:
        assert found == {}
    other = down.replace("full_name = first_name", "full_name = 'someone'")
    with _measured(pg16, UP, APP, other) as found:
        assert found == {("public.users", "full_name", LossKind.COLUMN_GONE): Figure.at_most(1000)}


def test_a_rename_with_edits_since_is_no_loss(pg16: RealServer):
    up = "ALTER TABLE public.users RENAME full_name TO first_name"
    with _measured(pg16, up, APP.replace("1, 'new'", "'new', 1"), "") as found:
        assert found == {}, "the down does not even take it back: the values live on under another name"
    down = "ALTER TABLE public.users RENAME first_name TO full_name"
    with _measured(pg16, up, APP.replace("1, 'new'", "'new', 1"), down) as found:
        assert found == {}


def test_a_table_that_the_up_dropped(pg: RealServer):
    up = "DROP TABLE public.tags; DROP TABLE public.log;"
    down = "CREATE TABLE public.tags (id int PRIMARY KEY, word text, note text)"
    with _measured(pg, up, "", down) as found:
        assert found == {
            ("public.tags", "", LossKind.ROWS_GONE): Figure.exact(80),
            ("public.log", "", LossKind.TABLE_GONE): Figure.exact(60),
        }
    with _measured(
        pg,
        up,
        "",
        down + "; INSERT INTO public.tags SELECT g, 'w' || g, NULL FROM pg_catalog.generate_series(1, 39) g",
    ) as found:
        assert found[("public.tags", "", LossKind.ROWS_GONE)] == Figure.exact(2)


def test_rows_and_cells_are_at_most_and_only_where_the_up_wrote(pg16: RealServer):
    up = "DELETE FROM public.tags WHERE id <= 5; UPDATE public.tags SET word = 'x' WHERE id > 30;"
    app = (
        "UPDATE public.tags SET note = 'n'; UPDATE public.users SET age = -1; DELETE FROM public.tags"
        " WHERE id = 6"
    )
    lost = {
        ("public.tags", "", LossKind.ROWS_GONE): Figure.at_most(12),
        ("public.tags", "word", LossKind.VALUES_CHANGED): Figure.at_most(10),
    }
    with _measured(pg16, up, app, "", frozenset({"public.tags"})) as found:
        assert found == lost
    with _measured(pg16, up, app, "") as found:
        assert found == {}
    with _measured(pg16, up, app, "", None) as found:
        assert found == lost | {("public.users", "age", LossKind.VALUES_CHANGED): Figure.at_most(1000)}


def test_rows_without_an_identity(pg16: RealServer):
    with _measured(
        pg16, "ALTER TABLE public.log DROP what;", "", "ALTER TABLE public.log ADD what text"
    ) as found:
        assert found == {("public.log", "what", LossKind.COLUMN_GONE): Figure.exact(30)}


def test_the_snapshot_may_be_a_restored_dump_on_another_version(pg16: RealServer, pg18: RealServer):
    tools = pg18.layout.binaries
    with pg16.database() as source, pg18.database() as copy, pg18.database() as now:
        run(pg16, source, SETUP)
        dump = subprocess.run(
            [tools.program("pg_dump"), "-Fc", pg16.dsn(source)], capture_output=True, check=True
        ).stdout
        subprocess.run([tools.program("pg_restore"), "-d", pg18.dsn(copy)], input=dump, check=True)
        run(pg18, now, SETUP)
        run(pg18, now, UP)
        down = "ALTER TABLE public.users ADD full_name text"
        with pair(pg18, now, down) as (current, after), session_of(pg18, copy) as before:
            found: tuple[Loss, ...] = measure_up(before, current, after)
    assert [(x.column, x.values) for x in found] == []
