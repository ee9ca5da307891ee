"""What a down destroys, measured on a copy and its clone and compared with what was really there."""

from __future__ import annotations

import pytest

from backout.model.loss import Figure, LossKind
from backout.model.plan import KeepHow
from backout.postgres.catalog import read_schema
from backout.postgres.losses import Measured, SinceMarks, measure, rows_written_since, touched
from backout.postgres.losses.since import rows_since
from backout.testing.servers import RealServer
from tests.loss.databases import pair, run, siblings

NAMES = """
CREATE TABLE public.users (id serial PRIMARY KEY, age int, first_name text);
INSERT INTO public.users (age, first_name) SELECT g, 'name ' || g FROM pg_catalog.generate_series(1, 1001) g;
"""


def _measure(server: RealServer, setup: str, down: str, marks: SinceMarks | None = None) -> Measured:
    with siblings(server, setup, down) as (before, after):
        return measure(before, after, marks=marks)


def _told(measured: Measured) -> dict[tuple[str, str, LossKind], int | None]:
    return {(x.object, x.column, x.kind): x.values.count for x in measured.losses}


GONE, TABLE, ROWS, CHANGED = (
    LossKind.COLUMN_GONE,
    LossKind.TABLE_GONE,
    LossKind.ROWS_GONE,
    LossKind.VALUES_CHANGED,
)


def test_the_down_on_which_six_tools_were_silent(server: RealServer):
    down = "ALTER TABLE public.users ADD full_name text; ALTER TABLE public.users DROP first_name"
    marks = SinceMarks(
        columns_created_by_up=frozenset({("public.users", "first_name")}),
        columns_filled_by_up=frozenset({("public.users", "first_name")}),
        rows_since={"public.users": 51},
    )
    measured = _measure(server, NAMES, down, marks)
    (loss,) = measured.losses
    assert (loss.object, loss.column, loss.kind) == ("public.users", "first_name", GONE)
    assert loss.values == Figure.exact(1001) == loss.rows
    assert loss.written_since == Figure.at_most(51)
    (keep,) = measured.keeps
    assert (keep.how, keep.key, keep.columns) == (KeepHow.COLUMNS, ("id",), ("first_name",))
    assert keep.table == "public.users"
    assert measured.touched == ("public.users",)
    assert measured.not_measured == ("positions of sequences",)


def test_values_that_are_copied_back_are_no_loss(server: RealServer):
    down = """ALTER TABLE public.users ADD full_name text; UPDATE public.users SET full_name = first_name
    WHERE id > 10; ALTER TABLE public.users DROP first_name"""
    assert _told(_measure(server, NAMES, down)) == {("public.users", "first_name", GONE): 10}


def test_a_flag_that_happens_to_be_equal_is_no_copy(pg16: RealServer):
    setup = """CREATE TABLE public.t (id int PRIMARY KEY, active boolean);
    INSERT INTO public.t SELECT g, g % 4 > 0 FROM pg_catalog.generate_series(1, 100) g"""
    down = """ALTER TABLE public.t ADD admin boolean DEFAULT true; UPDATE public.t SET admin = true
    WHERE id > 4; UPDATE public.t SET admin = false WHERE id < 2; ALTER TABLE public.t DROP active"""
    assert _told(_measure(pg16, setup, down)) == {("public.t", "active", GONE): 100}


def test_an_untouched_table_is_not_read_and_not_named(pg: RealServer):
    setup = NAMES + "CREATE TABLE public.quiet (id int PRIMARY KEY); INSERT INTO public.quiet VALUES (1)"
    with siblings(pg, setup, "DELETE FROM public.users WHERE id < 3") as (before, after):
        read: set[str] = set()
        measured = measure(before, after, on_progress=lambda table, _rows: read.add(table))
    assert measured.touched == ("public.users",)
    assert read == {"public.users"}


def test_when_a_session_stays_every_table_is_read(pg16: RealServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(touched, "_PATIENCE", 0.2)
    with siblings(pg16, NAMES, "UPDATE public.users SET age = 0 WHERE id = 7") as (before, after):
        row = after.execute("SELECT pg_catalog.current_database()").fetchone()
        assert row is not None
        with pg16.connect(row[0]):
            measured = measure(before, after)
    assert _told(measured) == {("public.users", "age", CHANGED): 1}


def test_deleted_and_changed_rows_are_counted_cell_by_cell(server: RealServer):
    down = """DELETE FROM public.users WHERE id <= 10; UPDATE public.users SET age = NULL WHERE id = 20;
    UPDATE public.users SET age = age, first_name = 'x' WHERE id BETWEEN 30 AND 34;
    INSERT INTO public.users (id, age) VALUES (5000, 1)"""
    measured = _measure(server, NAMES, down)
    assert _told(measured) == {
        ("public.users", "", ROWS): 30,
        ("public.users", "age", CHANGED): 1,
        ("public.users", "first_name", CHANGED): 5,
    }
    (keep,) = measured.keeps
    assert (keep.how, keep.columns) == (KeepHow.CHANGED_ROWS, ("age", "first_name"))


def test_a_null_that_becomes_something_counts_unless_it_is_the_default(pg16: RealServer):
    setup = """CREATE TABLE public.t (id int PRIMARY KEY, a int, b int);
    INSERT INTO public.t SELECT g FROM pg_catalog.generate_series(1, 10) g"""
    down = """ALTER TABLE public.t ALTER a SET DEFAULT 5; UPDATE public.t SET a = 5;
    UPDATE public.t SET b = 6 WHERE id < 4"""
    assert _told(_measure(pg16, setup, down)) == {("public.t", "b", CHANGED): 3}


HARMLESS = """
CREATE TABLE public.t (id int PRIMARY KEY, name text, n int, twice int GENERATED ALWAYS AS (n * 2) STORED);
INSERT INTO public.t SELECT g, 'n' || g, g FROM pg_catalog.generate_series(1, 20) g;
CREATE TABLE public.child (id int PRIMARY KEY, t_id int REFERENCES public.t ON DELETE CASCADE);
INSERT INTO public.child SELECT g, 1 FROM pg_catalog.generate_series(1, 5) g;
CREATE TYPE public.kind AS ENUM ('a', 'b');
"""


PATTERNS: list[tuple[str, str, dict[tuple[str, str, LossKind], int]]] = [
    ("harmless up, deadly down", "DELETE FROM public.child; ", {("public.child", "", ROWS): 10}),
    (
        "truncate with cascade",
        "TRUNCATE public.t CASCADE",
        {("public.child", "", ROWS): 10, ("public.t", "", ROWS): 60},
    ),
    (
        "drop and recreate a column, empty",
        "ALTER TABLE public.t DROP name; ALTER TABLE public.t ADD name text",
        {("public.t", "name", GONE): 20},
    ),
    (
        "drop and recreate a column, recomputed unharmed",
        "ALTER TABLE public.t ADD x text; UPDATE public.t SET x = name; ALTER TABLE public.t DROP name;"
        "ALTER TABLE public.t RENAME x TO name",
        {("public.t", "name", GONE): 0},
    ),
    (
        "same name, new table",
        "DROP TABLE public.child; CREATE TABLE public.child (id int PRIMARY KEY, t_id int)",
        {("public.child", "", TABLE): 10},
    ),
    ("narrowing back that fits", "ALTER TABLE public.t DROP twice, ALTER n TYPE smallint", {}),
    ("narrowing text that fits", "ALTER TABLE public.t ALTER name TYPE varchar(9)", {}),
    ("widening", "ALTER TABLE public.t DROP twice, ALTER n TYPE bigint", {}),
    ("tightening back", "ALTER TABLE public.t ALTER name SET NOT NULL", {}),
    (
        "not null without default, filled",
        "ALTER TABLE public.t ADD k int NOT NULL DEFAULT 0; ALTER TABLE public.t ALTER k DROP DEFAULT",
        {},
    ),
    ("enum labels stay", "SELECT 1", {}),
    ("leftovers", "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", {}),
    (
        "cascade through a foreign key",
        "DELETE FROM public.t WHERE id = 1",
        {("public.child", "", ROWS): 10, ("public.t", "", ROWS): 3},
    ),
    (
        "rename of a column and a table",
        "ALTER TABLE public.t RENAME n TO m; ALTER TABLE public.t RENAME TO u; CREATE SCHEMA s;"
        "ALTER TABLE public.u SET SCHEMA s; UPDATE s.u SET m = m",
        {},
    ),
    ("generated columns", "ALTER TABLE public.t DROP twice", {}),
]


def test_patterns_of_real_migrations(pg16: RealServer):
    with pg16.database() as original:
        run(pg16, original, HARMLESS)
        for pattern, down, lost in PATTERNS:
            with pair(pg16, original, down) as (before, after):
                assert _told(measure(before, after)) == lost, pattern


def test_a_type_that_does_not_lead_back_loses_what_it_rounds(server: RealServer):
    setup = """CREATE TABLE public.t (id int PRIMARY KEY, price numeric, at timestamp, doc json, word text);
    INSERT INTO public.t SELECT g, g / 4.0, '2020-01-01 00:00'::timestamp + g % 2 * interval '1 hour',
    '{"a":  1}', CASE WHEN g % 5 = 0 THEN '00' || g ELSE g::text END
    FROM pg_catalog.generate_series(1, 20) g"""
    down = """ALTER TABLE public.t ALTER price TYPE int, ALTER at TYPE date, ALTER doc TYPE jsonb,
    ALTER word TYPE int USING word::int"""
    measured = _measure(server, setup, down)
    assert _told(measured) == {
        ("public.t", "price", CHANGED): 20,  # scale counts: 1.0000000000000000 is not 1
        ("public.t", "at", CHANGED): 10,
        ("public.t", "word", CHANGED): 4,
    }
    (keep,) = measured.keeps
    assert keep.how is KeepHow.COLUMNS
    assert set(keep.columns) == {"price", "at", "word"}


def test_a_type_that_the_down_makes_anew_is_compared_as_text(pg: RealServer):
    setup = """CREATE TABLE public.t (id int PRIMARY KEY, mood text);
    INSERT INTO public.t SELECT g, CASE g % 2 WHEN 0 THEN 'sad' ELSE 'ok' END
    FROM pg_catalog.generate_series(1, 20) g"""
    down = """CREATE TYPE public.mood AS ENUM ('sad', 'ok', 'none');
    ALTER TABLE public.t ALTER mood TYPE public.mood USING
    (CASE WHEN id < 4 THEN 'none' ELSE mood END)::public.mood"""
    assert _told(_measure(pg, setup, down)) == {("public.t", "mood", CHANGED): 3}


def test_keys_of_every_kind_are_ordered_as_bytes(server: RealServer):
    icu = 'COLLATE "en-x-icu"' if server.major == 15 else ""
    setup = f"""
    CREATE TABLE public.a (k text {icu} PRIMARY KEY, v int);
    CREATE TABLE public.b (k uuid PRIMARY KEY, v int);
    CREATE TABLE public.c (x text, y int, v int, PRIMARY KEY (x, y)); CREATE TYPE public.e AS ENUM ('z', 'a');
    CREATE TABLE public.d (k public.e, n int, v int, PRIMARY KEY (k, n));
    CREATE TABLE public.f (k bigint PRIMARY KEY, v int);
    INSERT INTO public.a SELECT chr(65 + g % 50) || 'ä' || g, g FROM pg_catalog.generate_series(1, 300) g;
    INSERT INTO public.b SELECT md5(g::text)::uuid, g FROM pg_catalog.generate_series(1, 300) g;
    INSERT INTO public.c SELECT 'x' || g % 3, g, g FROM pg_catalog.generate_series(1, 300) g;
    INSERT INTO public.d SELECT CASE g % 2 WHEN 0 THEN 'z' ELSE 'a' END::public.e, g, g
      FROM pg_catalog.generate_series(1, 300) g;
    INSERT INTO public.f SELECT g - 150, g FROM pg_catalog.generate_series(1, 300) g;"""
    tables = "abcdf"
    down = "".join(
        f"UPDATE public.{t} SET v = -v WHERE v % 7 = 0; DELETE FROM public.{t} WHERE v % 11 = 0;"
        for t in tables
    )
    told = _told(_measure(server, setup, down))
    width = {"a": 2, "b": 2, "c": 3, "d": 3, "f": 2}
    assert told == {
        **{(f"public.{t}", "", ROWS): 27 * width[t] for t in tables},
        **{(f"public.{t}", "v", CHANGED): 42 - 3 for t in tables},
    }


def test_a_key_that_changes_its_type_is_compared_in_the_old_one(server: RealServer):
    setup = """CREATE TABLE public.t (id bigint PRIMARY KEY, v text); CREATE TABLE public.u (id text PRIMARY
    KEY, v text); INSERT INTO public.t SELECT g, 'v' FROM pg_catalog.generate_series(1, 50) g;
    INSERT INTO public.u SELECT md5(g::text)::uuid, 'v' FROM pg_catalog.generate_series(1, 50) g"""
    down = """ALTER TABLE public.t ALTER id TYPE int; UPDATE public.t SET v = 'w' WHERE id = 3;
    ALTER TABLE public.u ALTER id TYPE uuid USING id::uuid; DELETE FROM public.u WHERE id = md5('5')::uuid"""
    assert _told(_measure(server, setup, down)) == {
        ("public.t", "v", CHANGED): 1,
        ("public.u", "", ROWS): 2,
    }


def test_without_a_key_rows_are_compared_as_a_multiset(server: RealServer):
    setup = """CREATE TABLE public.t (a int, b text);
    INSERT INTO public.t SELECT g % 5, 'b' FROM pg_catalog.generate_series(1, 50) g;
    INSERT INTO public.t VALUES (99, NULL)"""
    measured = _measure(server, setup, "DELETE FROM public.t WHERE a IN (1, 99)")
    (loss,) = measured.losses
    assert (loss.kind, loss.rows, loss.values) == (ROWS, Figure.exact(11), Figure.exact(21))
    assert measured.keeps[0].key == ()
    measured = _measure(server, setup, "UPDATE public.t SET a = 7 WHERE a = 2")
    (loss,) = measured.losses
    assert (loss.rows, loss.values) == (Figure.exact(10), Figure.at_most(20))


PARTED = """
CREATE TABLE public.p (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE public.p2 (v text, gone int, day date NOT NULL, id int NOT NULL);
ALTER TABLE public.p2 DROP gone;
ALTER TABLE public.p ATTACH PARTITION public.p2 FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
CREATE TABLE public.p3 PARTITION OF public.p DEFAULT;
INSERT INTO public.p SELECT g, '2020-06-01'::date + g % 3 * 365, 'v' || g
  FROM pg_catalog.generate_series(1, 300) g;
"""


PARTED_DOWNS: list[tuple[str, dict[tuple[str, str, LossKind], int]]] = [
    # The key holds the day: a row of another key is another row.
    ("UPDATE public.p SET day = day + 365 WHERE id <= 30", {("public.p", "", ROWS): 90}),
    ("UPDATE public.p SET v = 'x' WHERE id <= 30", {("public.p", "v", CHANGED): 30}),
    ("DELETE FROM public.p2 WHERE id <= 30", {("public.p", "", ROWS): 30}),
    ("DROP TABLE public.p2", {("public.p", "", ROWS): 300}),
    ("ALTER TABLE public.p DETACH PARTITION public.p2", {}),
    ("ALTER TABLE public.p DROP v", {("public.p", "v", GONE): 300}),
    ("DROP TABLE public.p", {("public.p", "", TABLE): 900}),
    (
        "ALTER TABLE public.p DETACH PARTITION public.p2; INSERT INTO public.p (id, day, v)"
        " SELECT id, day, v FROM public.p2; DROP TABLE public.p2",
        {},
    ),
    (
        "ALTER TABLE public.p DETACH PARTITION public.p2; CREATE TABLE public.p4 PARTITION OF public.p"
        " FOR VALUES FROM ('2021-01-01') TO ('2022-01-01'); INSERT INTO public.p (id, day, v)"
        " SELECT id, day, v FROM public.p2; DROP TABLE public.p2",
        {},
    ),
]


def test_partitions_are_compared_as_one_table(server: RealServer):
    with server.database() as original:
        run(server, original, PARTED)
        for down, lost in PARTED_DOWNS:
            with pair(server, original, down) as (before, after):
                assert _told(measure(before, after)) == lost, down


def test_hostile_names_toasted_values_and_types_of_all_kinds(server: RealServer):
    citext = "CREATE EXTENSION citext SCHEMA public; CREATE EXTENSION hstore SCHEMA public;"
    extension = server.major == 15
    more = "public.citext, h public.hstore" if extension else "text, h text"
    setup = f"""{citext if extension else ""}
    CREATE SCHEMA "o'dd %s"; CREATE TYPE "o'dd %s"."pa""ir" AS (a int, b text);
    CREATE DOMAIN "o'dd %s".d AS int; CREATE TYPE "o'dd %s".m AS ENUM ('x''x', 'y');
    CREATE TABLE "o'dd %s"."ta""ble {{}} %" ("i d" int PRIMARY KEY, "va""lue %s" text, big text,
      pair "o'dd %s"."pa""ir", d "o'dd %s".d, m "o'dd %s".m, ms "o'dd %s".m[], "select" {more});
    INSERT INTO "o'dd %s"."ta""ble {{}} %" SELECT g, 'v' || g,
      (SELECT string_agg(md5((g * n)::text), '') FROM pg_catalog.generate_series(1, 400) n), 
      ('(' || g || ',)')::"o'dd %s"."pa""ir", g,
      'y', ARRAY['y', 'x''x']::"o'dd %s".m[], 'Aa', 'a=>1' FROM pg_catalog.generate_series(1, 12) g"""
    down = """ALTER TABLE "o'dd %s"."ta""ble {} %" DROP "va""lue %s";
    UPDATE "o'dd %s"."ta""ble {} %" SET big = substr(big, 2) WHERE "i d" = 3;
    UPDATE "o'dd %s"."ta""ble {} %" SET pair = (1, 'x'), d = 0, m = 'x''x', ms = NULL, "select" = 'aA',
      h = 'a=>2' WHERE "i d" = 4"""
    told = _told(_measure(server, setup, down))
    name = '"o\'dd %s"."ta""ble {} %"'
    assert told == {
        (name, 'va"lue %s', GONE): 12,
        (name, "big", CHANGED): 1,
        **{(name, column, CHANGED): 1 for column in ("pair", "d", "m", "ms", "select", "h")},
    }


def test_a_dropped_column_of_a_composite_with_null_fields_counts(pg16: RealServer):
    setup = """CREATE TYPE public.c AS (a int); CREATE TABLE public.t (id int PRIMARY KEY, c public.c, z int
    DEFAULT 7); INSERT INTO public.t VALUES (1, ROW(NULL)), (2, ROW(1)), (3, NULL);
    INSERT INTO public.t VALUES (4, NULL, 8)"""
    measured = _measure(pg16, setup, "ALTER TABLE public.t DROP c, DROP z")
    assert _told(measured) == {("public.t", "c", GONE): 2, ("public.t", "z", GONE): 4}
    assert {loss.column: loss.equal_to_default for loss in measured.losses} == {"c": 0, "z": 3}


def test_more_columns_than_one_call_takes(pg16: RealServer):
    columns = ", ".join(f"c{n} int" for n in range(250))
    setup = (
        f"CREATE TABLE public.t (id int PRIMARY KEY, {columns}); INSERT INTO public.t (id, c7, c249)"
        " VALUES (1, 1, 1), (2, 2, NULL)"
    )
    assert _told(_measure(pg16, setup, "DELETE FROM public.t WHERE id = 1")) == {("public.t", "", ROWS): 3}
    assert _told(_measure(pg16, setup, "DROP TABLE public.t")) == {("public.t", "", TABLE): 5}


def _since(measured: Measured) -> dict[str, Figure]:
    return {loss.column: loss.written_since for loss in measured.losses}


def test_written_since_is_exact_only_for_what_the_up_made_and_did_not_fill(pg16: RealServer):
    setup = """CREATE TABLE public.t (id int PRIMARY KEY, a int, b int DEFAULT 3, c int, d int);
    INSERT INTO public.t SELECT g, g, g, g, g FROM pg_catalog.generate_series(1, 10) g"""
    made = frozenset(("public.t", name) for name in "abc")
    down = "ALTER TABLE public.t DROP a, DROP b, DROP c, DROP d"
    filled = frozenset({("public.t", "c")})
    known = SinceMarks(columns_created_by_up=made, columns_filled_by_up=filled)
    assert _since(_measure(pg16, setup, down, known)) == {
        "a": Figure.exact(10),
        "b": Figure.at_most(10),
        "c": Figure.at_most(10),
        "d": Figure.unknown(),
    }
    counted = SinceMarks(columns_created_by_up=made, rows_since={"public.t": 4})
    assert set(_since(_measure(pg16, setup, down, counted)).values()) == {Figure.at_most(4)}


def test_on_a_physical_copy_the_age_of_a_row_bounds_what_was_written_since(pg: RealServer):
    setup = """CREATE TABLE public.t (id int PRIMARY KEY, v int);
    INSERT INTO public.t SELECT g, g FROM pg_catalog.generate_series(1, 10) g"""
    with siblings(pg, setup, "SELECT 1") as (before, _):
        row = before.execute("SELECT pg_catalog.pg_current_xact_id()::text").fetchone()
        assert row is not None
        table = read_schema(before).by_name["public.t"]
        assert rows_written_since(before, table, row[0]) == 0
        before.execute("UPDATE public.t SET v = 0 WHERE id < 4")
        assert rows_written_since(before, table, row[0]) == 3
        marks = SinceMarks(migration_xid=row[0], restored=False)
        assert rows_since(before, marks, table) == 3


def test_a_table_in_a_schema_that_is_dropped_is_kept_whole(pg16: RealServer):
    setup = """CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, v text, w text);
    INSERT INTO app.t SELECT g, 'v' FROM pg_catalog.generate_series(1, 10) g"""
    measured = _measure(pg16, setup, "DROP SCHEMA app CASCADE")
    (loss,) = measured.losses
    assert (loss.kind, loss.rows, loss.values) == (TABLE, Figure.exact(10), Figure.exact(20))
    (keep,) = measured.keeps
    assert (keep.how, keep.key, keep.columns) == (KeepHow.WHOLE_TABLE, ("id",), ("id", "v", "w"))


def test_more_rows_than_one_batch(pg16: RealServer):
    setup = """CREATE TABLE public.t (id int PRIMARY KEY, v int, w text);
    INSERT INTO public.t SELECT g, g, 'w' FROM pg_catalog.generate_series(1, 30000) g"""
    down = "UPDATE public.t SET v = v + 1 WHERE id % 2 = 0; DELETE FROM public.t WHERE id % 3 = 0"
    assert _told(_measure(pg16, setup, down)) == {
        ("public.t", "", ROWS): 30000,
        ("public.t", "v", CHANGED): 10000,
    }
