"""The schema is read whole, digested without oids and column order, and compared object by object."""

from __future__ import annotations

import subprocess

from backout.model.loss import SchemaDifference
from backout.postgres.catalog import (
    Schema,
    dependants,
    differences,
    digest,
    key_of,
    order_changes,
    portable,
    read_schema,
    table_sizes,
)
from backout.testing.servers import RealServer
from tests.loss.databases import session_of, siblings

WORLD = """
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN app.mail AS text CHECK (VALUE LIKE '%@%') DEFAULT 'a@b';
CREATE TYPE app.pair AS (a int, "B b" text);
CREATE TYPE app.span AS RANGE (subtype = int);
CREATE TABLE app.users (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mail app.mail NOT NULL UNIQUE,
  mood app.mood DEFAULT 'ok', kind varchar(9) CHECK (kind IN ('x', 'y')),
  twice bigint GENERATED ALWAYS AS (length(kind) * 2) STORED, note text COLLATE "C",
  CONSTRAINT between_is_kept CHECK (length(note) BETWEEN 1 AND 90 AND length(kind) > 0 AND id > 0));
CREATE INDEX partial ON app.users (lower(note)) WHERE kind IN ('x', 'y');
COMMENT ON TABLE app.users IS 'people'; COMMENT ON COLUMN app.users.note IS 'free text';
CREATE TABLE app.orders (id serial PRIMARY KEY, user_id bigint REFERENCES app.users ON DELETE CASCADE);
CREATE TABLE app.events (day date NOT NULL, n int, PRIMARY KEY (day, n)) PARTITION BY RANGE (day);
CREATE TABLE app.events_1 PARTITION OF app.events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE VIEW app.calm AS SELECT u.id, u.mail FROM app.users u WHERE u.mood = 'ok' AND u.kind IN ('x', 'y');
CREATE MATERIALIZED VIEW app.counts AS SELECT mood, count(*) FROM app.users GROUP BY 1;
CREATE UNIQUE INDEX ON app.counts (mood);
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE PROCEDURE app.nothing(n int DEFAULT 3) LANGUAGE sql AS 'SELECT 1 FROM app.users';
CREATE AGGREGATE app.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE TRIGGER touch BEFORE UPDATE ON app.users FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.users ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON app.users FOR SELECT USING (mood = 'ok');
CREATE STATISTICS app.together ON kind, mood FROM app.users;
CREATE RULE quiet AS ON INSERT TO app.orders DO ALSO NOTIFY orders;
"""


def test_the_schema_of_a_rich_database_is_read_whole(server: RealServer):
    with siblings(server, WORLD, "SELECT 1") as (before, after):
        schema = read_schema(before)
        assert differences(schema, read_schema(after)) == ()
        assert digest(schema) == digest(read_schema(after))
    users = schema.by_name["app.users"]
    assert [c.name for c in users.columns] == ["id", "mail", "mood", "kind", "twice", "note"]
    assert users.columns[1].type == "app.mail"
    assert users.columns[4].generated == "s"
    assert users.columns[0].identity == "a"
    assert users.columns[5].collation == 'pg_catalog."C"'
    assert users.comment == "people"
    assert users.row_security
    assert key_of(users) == ("id",)
    assert key_of(schema.by_name["app.events"]) == ("day", "n")
    assert schema.root_of(schema.by_name["app.events_1"]).name == "events"
    kinds = {d.kind for d in schema.others}
    assert kinds >= {"enum", "domain", "composite type", "range type", "function", "procedure", "aggregate"}
    assert kinds >= {"trigger", "policy", "rule", "statistics", "sequence", "schema", "extension"}
    assert {v.name for v in schema.views} == {"calm", "counts"}


def test_the_search_path_of_the_session_changes_nothing_and_comes_back(server: RealServer):
    with server.database() as name, session_of(server, name) as session:
        session.execute(WORLD)
        expected = digest(read_schema(session))
        session.execute("SET search_path = app, public")
        assert digest(read_schema(session)) == expected
        row = session.execute("SHOW search_path").fetchone()
        assert row is not None and row[0] == "app, public"


CHANGES = [
    ("ALTER TABLE app.users DROP COLUMN note CASCADE", "column app.users.note"),
    ("ALTER TABLE app.orders ALTER user_id SET NOT NULL", "column app.orders.user_id"),
    ("ALTER TABLE app.orders ALTER user_id SET DEFAULT 4", "column app.orders.user_id"),
    ("ALTER TYPE app.mood ADD VALUE 'glad' BEFORE 'ok'", "enum app.mood"),
    ("CREATE FUNCTION app.more() RETURNS int LANGUAGE sql AS 'SELECT 1'", "function app.more()"),
    ("DROP INDEX app.partial", "index app.partial"),
    ("DROP TRIGGER touch ON app.users", "trigger touch on app.users"),
    ("DROP POLICY mine ON app.users", "policy mine on app.users"),
    ("CREATE OR REPLACE VIEW app.calm AS SELECT id, mail FROM app.users", "view app.calm"),
    ("GRANT SELECT ON app.orders TO PUBLIC", "table app.orders"),
    ("GRANT SELECT (id) ON app.orders TO PUBLIC", "column app.orders.id"),
    ("COMMENT ON TABLE app.orders IS 'new'", "table app.orders"),
    ("ALTER SEQUENCE app.orders_id_seq INCREMENT 2", "sequence app.orders_id_seq"),
    ("ALTER TABLE app.orders ADD CHECK (id > 0) NOT VALID", "constraint app.orders.orders_id_check"),
    ("ALTER TABLE app.users REPLICA IDENTITY FULL", "table app.users"),
    ("ALTER TABLE app.events DETACH PARTITION app.events_1", "table app.events_1"),
    ("DROP TABLE app.orders", "table app.orders"),
    ("CREATE TABLE app.t (id serial PRIMARY KEY)", "table app.t"),
]


def test_one_change_is_one_difference(pg16: RealServer):
    allowed = {"app.users.note", "app.users.between_is_kept", "app.partial", "app.events_1"}
    with pg16.database() as name, session_of(pg16, name) as session:
        session.execute(WORLD)
        old = read_schema(session)
        for change, seen in CHANGES:
            with session.transaction(force_rollback=True):
                session.execute(change)
                new = read_schema(session)
            found = differences(old, new)
            assert seen in {d.object for d in found}, change
            assert digest(old) != digest(new), change
            others = {d.object for d in found} - {seen}
            assert all(any(part in one for part in allowed) for one in others), (change, found)
        assert digest(read_schema(session)) == digest(old)


def test_parts_of_a_table_that_came_are_not_listed_apart(pg16: RealServer):
    with siblings(pg16, WORLD, "CREATE TABLE app.t (id serial PRIMARY KEY, n int CHECK (n > 0))") as (b, a):
        found = differences(read_schema(b), read_schema(a))
    assert found == (SchemaDifference("table app.t", "added", ""),)


def test_column_order_is_told_apart_and_is_no_difference(pg: RealServer):
    again = "ALTER TABLE app.orders DROP COLUMN id; ALTER TABLE app.orders ADD id int"
    setup = "CREATE SCHEMA app; CREATE TABLE app.orders (id int, user_id bigint)"
    with siblings(pg, setup, again) as (before, after):
        old, new = read_schema(before), read_schema(after)
    assert differences(old, new) == ()
    assert digest(old) == digest(new)
    assert order_changes(old, new) == (
        SchemaDifference("table app.orders", "order", "id, user_id -> user_id, id"),
    )


def test_the_history_table_is_ignored_with_all_that_belongs_to_it(pg16: RealServer):
    history = "CREATE TABLE public.pgmigrations (id serial PRIMARY KEY, name text CHECK (name <> ''))"
    with siblings(pg16, WORLD, history) as (before, after):
        old, new = read_schema(before), read_schema(after)
    assert differences(old, new) != ()
    ignore = frozenset({"public.pgmigrations"})
    assert differences(old, new, ignore) == ()
    assert digest(old, ignore) == digest(new, ignore)


def test_objects_of_ours_and_of_extensions_are_left_out(server: RealServer):
    ours = "CREATE SCHEMA backout; CREATE TABLE backout.t (id int); CREATE SCHEMA backout_kept"
    with siblings(server, WORLD, ours) as (before, after):
        old, new = read_schema(before), read_schema(after)
        assert differences(old, new) == ()
        if server.major != 15:
            return
        after.execute("CREATE EXTENSION citext SCHEMA public")
        found = differences(old, read_schema(after))
    assert [(d.object, d.change) for d in found] == [("extension citext", "added")]


def test_a_restored_dump_has_the_same_portable_digest(server: RealServer):
    """`IN` over varchar is deparsed otherwise after a restore; the meaning is the same."""
    tools = server.layout.binaries
    with server.database() as source, server.database() as copy:
        with server.connect(source) as app:
            app.execute(WORLD)
        place = {"-h": "127.0.0.1", "-p": str(server.port), "-U": "postgres"}
        where = [part for pair in place.items() for part in pair]
        dump = subprocess.run(
            [tools.program("pg_dump"), *where, "-Fc", source], capture_output=True, check=True
        ).stdout
        subprocess.run(
            [tools.program("pg_restore"), *where, "--no-owner", "-d", copy],
            input=dump,
            capture_output=True,
            check=True,
        )
        with session_of(server, source) as one, session_of(server, copy) as two:
            first, second = portable(read_schema(one)), portable(read_schema(two))
    assert differences(first, second) == ()
    assert digest(first) == digest(second)


def test_digests_agree_across_major_versions(pg16: RealServer, pg18: RealServer):
    found: list[Schema] = []
    for each in (pg16, pg18):
        with each.database() as name, session_of(each, name) as session:
            session.execute(WORLD)
            found.append(portable(read_schema(session)))
    assert differences(found[0], found[1]) == ()


def test_without_a_primary_key_a_unique_not_null_index_identifies_rows(pg16: RealServer):
    setup = """
    CREATE TABLE public.a (n int NOT NULL UNIQUE, m int UNIQUE);
    CREATE TABLE public.b (n int UNIQUE);
    CREATE TABLE public.c (n int NOT NULL, m int NOT NULL);
    CREATE UNIQUE INDEX ON public.c (n) WHERE n > 0; CREATE UNIQUE INDEX ON public.c ((n + m));
    CREATE TABLE public.d (n int NOT NULL, UNIQUE (n) DEFERRABLE);
    CREATE TABLE public.e (a int, "B" text, PRIMARY KEY ("B", a));
    CREATE TABLE public.f (n int NOT NULL, x int); CREATE UNIQUE INDEX ON public.f (n) INCLUDE (x);
    """
    with siblings(pg16, setup, "SELECT 1") as (before, _):
        schema = read_schema(before)
    keys = {table.name: key_of(table) for table in schema.tables}
    assert keys == {"a": ("n",), "b": (), "c": (), "d": (), "e": ("a", "B"), "f": ("n",)}


def test_sizes_and_dependants_of_a_table(server: RealServer):
    with siblings(server, WORLD, "SELECT 1") as (before, _):
        before.execute(
            "INSERT INTO app.events SELECT '2020-05-05', g FROM pg_catalog.generate_series(1, 500) g"
        )
        before.execute("ANALYZE app.events")
        schema = read_schema(before)
        users, events = schema.by_name["app.users"], schema.by_name["app.events"]
        sizes = table_sizes(before, [users.oid, events.oid, 1])
        found = {(d.kind, d.name, d.detail) for d in dependants(before, users.oid)}
        parts = {(d.kind, d.name) for d in dependants(before, events.oid)}
    assert sizes[events.oid].rows == 500
    assert sizes[events.oid].bytes > 8192
    assert set(sizes) == {users.oid, events.oid}
    assert ("foreign key", "orders_user_id_fkey on app.orders", "cascade") in found
    assert ("view", "app.calm", "") in found and ("view", "app.counts", "") in found
    assert ("function", "app.nothing(integer)", "") in found
    assert ("trigger", "touch", "") in found
    assert parts == {("partition", "app.events_1")}
