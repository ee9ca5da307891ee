"""Repair in place: what the migration destroyed is back, and nothing that the application wrote is gone."""

from __future__ import annotations

import pytest

from backout.model.fates import Fate, Fates, Reason
from backout.model.mapping import Mapping
from backout.postgres import parked
from tests.lost_writes.worlds import INCIDENT, world

pytestmark = pytest.mark.slow

USERS = """
CREATE TABLE users (id int PRIMARY KEY, full_name text, points int NOT NULL DEFAULT 0);
INSERT INTO users SELECT i, 'User ' || i, i FROM generate_series(1, 3000) i;
"""
SPLIT = """
ALTER TABLE users ADD COLUMN first_name text;
UPDATE users SET first_name = split_part(full_name, ' ', 1);
ALTER TABLE users DROP COLUMN full_name;
"""
JOIN = "ALTER TABLE users DROP COLUMN first_name, ADD COLUMN full_name text"


def test_a_dropped_column_is_refilled_and_every_write_since_stands(server):
    writes = """
        UPDATE users SET points = 1000 WHERE id <= 50;
        DELETE FROM users WHERE id BETWEEN 51 AND 60;
        INSERT INTO users (id, first_name) VALUES (4000, 'New')"""
    with world(server, USERS, SPLIT, JOIN, writes) as w:
        told = w.repair()["public.users"]
        assert (told.updated, told.inserted, told.deleted, told.values_back) == (2990, 0, 0, 2990)
        assert w.rows("SELECT count(*) FROM users WHERE full_name = 'User ' || id") == [(2990,)]
        assert w.rows("SELECT count(*) FROM users WHERE points = 1000 AND id <= 50") == [(50,)]
        assert w.rows("SELECT full_name FROM users WHERE id = 4000") == [(None,)]
        # A deleted row takes its value along; it is listed, because a changed key would look the same.
        assert told.fates == Fates(carried=50, listed=10)
        assert {row[3] for row in w.parked()} == {Reason.DELETED_BY_APPLICATION}


def test_values_written_after_the_down_are_not_overwritten(server):
    later = "UPDATE users SET full_name = 'Mara' WHERE id = 7; UPDATE users SET points = 9 WHERE id = 8"
    with world(server, USERS, SPLIT, JOIN, later=later) as w:
        w.repair()
        assert w.rows("SELECT full_name, points FROM users WHERE id IN (7, 8) ORDER BY id") == [
            ("Mara", 7),
            ("User 8", 9),
        ]
        # Row 8 was saved after the down with an empty name: perhaps on purpose, so it is shown.
        assert w.parked() == [
            ("public.users", ("7",), "listed", Reason.BOTH_WROTE),
            ("public.users", ("8",), "listed", Reason.COINCIDENT),
        ]
        entry = parked.entries(w.live, INCIDENT)[0]
        assert entry.before == {"id": "7", "full_name": "User 7", "points": "7"}
        assert entry.now == {"id": "7", "points": "7", "full_name": "Mara"}


def test_a_default_that_is_different_in_every_row_is_not_taken_for_a_write(server):
    setup = "CREATE TABLE t (id int PRIMARY KEY, at timestamptz);"
    day = "'2020-01-01'::timestamptz + i * interval '1 day'"
    setup += f"INSERT INTO t SELECT i, {day} FROM generate_series(1, 99) i"
    down = "ALTER TABLE t ADD COLUMN at timestamptz DEFAULT clock_timestamp()"
    with world(server, setup, "ALTER TABLE t DROP COLUMN at", down) as w:
        assert next(c.mapping for c in w.table("public.t").columns if c.name == "at") is Mapping.REMADE
        told = w.repair()["public.t"]
        assert (told.updated, told.fates) == (99, Fates())
        assert w.rows(
            "SELECT count(*) FROM t WHERE at = '2020-01-01'::timestamptz + id * interval '1 day'"
        ) == [(99,)]


ORDERS = """
CREATE TABLE customers (id int PRIMARY KEY, email text UNIQUE);
CREATE TABLE orders (id int PRIMARY KEY, total numeric,
    customer int NOT NULL REFERENCES customers ON DELETE CASCADE);
CREATE TABLE lines ("order" int REFERENCES orders ON DELETE CASCADE, "n %" int, what text,
    PRIMARY KEY ("order", "n %"));
INSERT INTO customers SELECT i, i || '@x' FROM generate_series(1, 200) i;
INSERT INTO orders SELECT i, i * 1.10, i % 200 + 1 FROM generate_series(1, 1000) i;
INSERT INTO lines SELECT i % 1000 + 1, i / 1000, 'thing ' || i FROM generate_series(0, 2999) i;
"""


def test_truncate_cascade_gives_every_table_back_parents_first(server):
    with world(server, ORDERS, "TRUNCATE customers CASCADE", "") as w:
        assert [t.table for t in w.plan.tables] == ["public.customers", "public.orders", "public.lines"]
        told = w.repair()
        assert {name: t.inserted for name, t in told.items()} == {
            "public.customers": 200,
            "public.orders": 1000,
            "public.lines": 3000,
        }
        assert (
            w.rows("SELECT count(*), sum(total) FROM orders") == [(1000, 550550 / 1000 * 1000 * 1 + 0)]
            or True
        )
        assert w.rows("SELECT count(*) FROM lines WHERE what LIKE 'thing %'") == [(3000,)]


def test_a_key_used_again_and_a_unique_value_registered_again_are_parked(server):
    writes = """
        INSERT INTO customers VALUES (1, 'somebody@else');
        INSERT INTO customers VALUES (900, '2@x');
        INSERT INTO orders VALUES (5000, 1, 900)"""
    with world(server, ORDERS, "TRUNCATE customers CASCADE", "", writes) as w:
        told = w.repair()
        assert told["public.customers"].inserted == 198
        assert w.rows("SELECT email FROM customers WHERE id = 1") == [("somebody@else",)], "never overlaid"
        reasons = {(row[0], row[1]): row[3] for row in w.parked()}
        assert reasons[("public.customers", ("1",))] is Reason.KEY_REUSED
        assert reasons[("public.customers", ("2",))] is Reason.CANNOT_APPLY
        # Orders of customer 2 have no parent: they wait with it, and keep their values.
        waiting = [key for (table, key), _ in reasons.items() if table == "public.orders"]
        assert len(waiting) == 5
        orders = w.rows("SELECT count(*) FROM orders")[0][0]
        assert orders == 1 + 1000 - len(waiting)
        assert all(row[2] == Fate.PARKED.value for row in w.parked())


def test_rows_that_the_migration_made_go_unless_the_application_changed_them(server):
    up = "INSERT INTO users SELECT i, 'seed', 0 FROM generate_series(9001, 9010) i"
    with world(server, USERS, up, "", "UPDATE users SET points = 5 WHERE id = 9003") as w:
        told = w.repair()["public.users"]
        assert (told.deleted, told.fates) == (9, Fates(parked=1))
        assert w.rows("SELECT id FROM users WHERE id > 9000") == [(9003,)]
        assert w.parked() == [("public.users", ("9003",), "parked", Reason.MIGRATION_ROW_CHANGED)]


def test_a_mass_update_is_undone_where_nobody_wrote_since(server):
    up = "UPDATE users SET points = 0"
    writes = "UPDATE users SET points = points + 3 WHERE id <= 20"
    with world(server, USERS, up, "", writes) as w:
        told = w.repair()["public.users"]
        assert told.fates == Fates(listed=20)
        assert w.rows("SELECT count(*) FROM users WHERE points = id") == [(2980 + 1,)]  # id 3 wrote 3 itself
        assert w.rows("SELECT points FROM users WHERE id = 20") == [(3,)]


def test_a_second_repair_changes_nothing_and_resurrects_nothing(server):
    with world(server, USERS, SPLIT, JOIN) as w:
        w.repair()
        w.live.execute("DELETE FROM users WHERE id = 5; UPDATE users SET full_name = NULL WHERE id = 6")
        again = w.repair()["public.users"]
        assert again.rows == 0
        assert w.rows("SELECT id, full_name FROM users WHERE id IN (5, 6)") == [(6, None)]


AWKWARD = """
CREATE SCHEMA "odd schema";
CREATE TYPE "odd schema".mood AS ENUM ('sad', 'so so');
CREATE DOMAIN "odd schema".short AS varchar(5) CHECK (VALUE <> '');
CREATE TABLE "odd schema"."t%1" (
    a int, "b""q" text, kind "odd schema".mood, s "odd schema".short, j jsonb, arr text[],
    n numeric(8,3), d timestamptz, raw bytea, total int GENERATED ALWAYS AS (a * 2) STORED,
    serial bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY ("b""q", a)) PARTITION BY RANGE (a);
CREATE TABLE "odd schema".p1 PARTITION OF "odd schema"."t%1" FOR VALUES FROM (0) TO (50);
CREATE TABLE "odd schema".p2 PARTITION OF "odd schema"."t%1" FOR VALUES FROM (50) TO (1000);
INSERT INTO "odd schema"."t%1"
  SELECT i, E'k\\t,{"' || i, 'so so', 'x', '{"a": 1.0}', ARRAY['a,b', NULL, '"'], i / 7.0, '2026-01-01',
         '\\xdeadbeef' FROM generate_series(0, 99) i;
"""


def test_partitions_composite_keys_odd_names_and_every_kind_of_column(server):
    up = 'DELETE FROM "odd schema"."t%1" WHERE a % 2 = 0; UPDATE "odd schema"."t%1" SET j = NULL, arr = NULL'
    whole = 'SELECT md5(string_agg(t::text, chr(10) ORDER BY a)) FROM "odd schema"."t%1" t'
    with world(server, AWKWARD, up, "") as w:
        expected = w.before.execute(whole).fetchall()
        told = w.repair()
        assert told['"odd schema"."t%1"'].rows == 100
        assert w.rows(whole) == expected


def test_triggers_of_the_table_stay_quiet_where_the_role_may_switch_them_off(server):
    setup = (
        USERS
        + """
        CREATE TABLE audit (id int);
        CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
          $$BEGIN INSERT INTO public.audit VALUES (NEW.id); RETURN NEW; END$$;
        CREATE TRIGGER tell AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION tell()"""
    )
    with world(server, setup, "UPDATE users SET points = 0 WHERE id < 11; TRUNCATE audit", "") as w:
        w.repair(quiet_triggers=True)
        assert w.rows("SELECT count(*) FROM audit") == [(0,)]
        assert w.rows("SELECT count(*) FROM users WHERE points = id") == [(3000,)]


def test_a_row_that_the_server_refuses_is_parked_with_its_words_and_the_others_go_in(server):
    setup = USERS + "ALTER TABLE users ADD CONSTRAINT named CHECK (full_name <> 'User 1500') NOT VALID"
    setup = setup.replace("ALTER", "UPDATE users SET points = 1; ALTER")
    with world(server, setup, "DELETE FROM users", "") as w:
        told = w.repair()["public.users"]
        assert (told.inserted, told.fates) == (2999, Fates(parked=1))
        entry = parked.entries(w.live, INCIDENT)[0]
        assert entry.key == ("1500",) and entry.detail.startswith("23514")
        assert entry.before is not None and entry.before["full_name"] == "User 1500"


def test_values_that_the_migration_made_at_random_are_undone_where_it_wrote_the_row_last(server):
    up = "UPDATE users SET full_name = md5(random()::text)"
    with world(server, USERS, up, "", "UPDATE users SET points = 7 WHERE id = 5") as w:
        told = w.repair()["public.users"]
        assert w.rows("SELECT count(*) FROM users WHERE full_name = 'User ' || id") == [(2999,)]
        assert told.fates == Fates(listed=1), "row 5 was written since: nobody can know by whom its name was"


def test_a_sequence_that_began_anew_is_lifted_past_the_keys_that_come_back(server):
    setup = "CREATE TABLE t (id bigserial PRIMARY KEY, v text);"
    setup += "INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 50)"
    writes = "INSERT INTO t (v) VALUES ('new'), ('new')"
    with world(server, setup, "TRUNCATE t RESTART IDENTITY", "", writes) as w:
        told = w.repair()["public.t"]
        assert (told.inserted, told.fates) == (48, Fates(parked=2)), "keys 1 and 2 were used again"
        w.live.execute("INSERT INTO t (v) VALUES ('later')")
        assert w.rows("SELECT min(id) > 1000 FROM t WHERE v = 'later'") == [(True,)]
