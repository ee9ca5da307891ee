"""Up and down read together: `safe` is never wrong, and what is plainly lossy is called so."""

from __future__ import annotations

import random
from collections.abc import Sequence

import psycopg
import pytest

from backout.sql.verdict import Existing, read_down
from backout.testing.servers import RealServer

SAFE, LOSSY, UNKNOWN = Existing.SAFE, Existing.LOSSY, Existing.UNKNOWN


@pytest.mark.parametrize(
    ("up", "down", "answer"),
    [
        ("", "", SAFE),
        ("ALTER TABLE h ADD a text, ADD b int", "ALTER TABLE h DROP a, DROP b", SAFE),
        ("CREATE TABLE n (id int); INSERT INTO n VALUES (1)", "DROP TABLE n CASCADE", SAFE),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "DROP INDEX CONCURRENTLY i", SAFE),
        ("ALTER TABLE t ALTER a SET NOT NULL", "ALTER TABLE t ALTER a DROP NOT NULL", SAFE),
        ("ALTER TABLE t ADD CHECK (a > 0)", "ALTER TABLE t DROP CONSTRAINT t_a_check", SAFE),
        ("ALTER TYPE mood ADD VALUE 'x'", "", SAFE),
        ("CREATE TYPE mood AS ENUM ('a'); ALTER TABLE t ADD m mood", "DROP TYPE mood CASCADE", SAFE),
        ("CREATE VIEW v AS SELECT f(a) FROM t", "DROP VIEW v", SAFE),
        ("ALTER TABLE t RENAME a TO b", "ALTER TABLE t RENAME b TO a", SAFE),
        ("ALTER TABLE t RENAME a TO b", "", SAFE),
        (
            "ALTER TABLE t RENAME a TO b; ALTER TABLE t ADD a int",
            "ALTER TABLE t DROP a; ALTER TABLE t RENAME b TO a",
            SAFE,
        ),
        (
            "ALTER TABLE t RENAME TO t_old; CREATE TABLE t (id int); INSERT INTO t SELECT id FROM t_old",
            "DROP TABLE t; ALTER TABLE t_old RENAME TO t",
            SAFE,
        ),
        ("CREATE SCHEMA s CREATE TABLE t (id int)", "DROP SCHEMA s CASCADE", SAFE),
        ('CREATE EXTENSION IF NOT EXISTS "uuid-ossp"', 'DROP EXTENSION "uuid-ossp"', SAFE),
        # harmless up, deadly down
        ("CREATE TABLE n (id int); INSERT INTO t VALUES (1)", "DROP TABLE n; DELETE FROM t", LOSSY),
        ("", "TRUNCATE t", LOSSY),
        # drop and recreate
        ("ALTER TABLE t DROP a", "ALTER TABLE t ADD a text", LOSSY),
        ("DROP TABLE t", "CREATE TABLE t (id int)", LOSSY),
        # same name, new table: order matters
        ("DROP TABLE t; CREATE TABLE t (id int)", "DROP TABLE t", LOSSY),
        ("CREATE TABLE t (id int)", "DROP TABLE t; DROP TABLE t", LOSSY),
        # what the down drops was only renamed
        ("ALTER TABLE t RENAME a TO b", "ALTER TABLE t DROP b", LOSSY),
        ("ALTER TABLE t RENAME TO u", "DROP TABLE u", LOSSY),
        ("ALTER TABLE t ADD a int; ALTER TABLE t RENAME a TO b", "ALTER TABLE t DROP a", LOSSY),
        ("", "DROP SCHEMA app CASCADE", LOSSY),
        ("CREATE VIEW v AS SELECT * FROM t", "DELETE FROM v; DROP VIEW v", LOSSY),
        ("CREATE TEMP TABLE t (id int)", "DELETE FROM u", LOSSY),
        # what text cannot tell
        ("DO $$ BEGIN END $$", "", UNKNOWN),
        ("ALTER TABLE t DROP a", "DO $$ BEGIN END $$", UNKNOWN),
        ("SELECT tidy()", "", UNKNOWN),
        ("CREATE FUNCTION lower(t) RETURNS int LANGUAGE sql AS ''; SELECT lower(t) FROM t", "", UNKNOWN),
        ("no SQL", "", UNKNOWN),
        ("\\i other.sql", "", UNKNOWN),
        ("CREATE TABLE IF NOT EXISTS t (id int)", "DROP TABLE t", UNKNOWN),
        ("ALTER TABLE t ADD COLUMN IF NOT EXISTS a int", "ALTER TABLE t DROP a", UNKNOWN),
        ("CREATE TABLE public.t (id int)", "DROP TABLE t", UNKNOWN),
        ("CREATE TABLE t (id int)", "DROP TABLE public.t", UNKNOWN),
        ("CREATE TABLE t (id int)", "SET search_path TO old; DROP TABLE t", UNKNOWN),
        ("CREATE TABLE t (id int)", "SELECT set_config($1, $2, true); DROP TABLE t", UNKNOWN),
        ("CREATE TEMP TABLE t (id int)", "DROP TABLE t", UNKNOWN),
        ("CREATE TABLE p PARTITION OF t DEFAULT", "DROP TABLE p", UNKNOWN),
        (
            "CREATE TABLE n (id int) PARTITION BY LIST (id); ALTER TABLE n ATTACH PARTITION t DEFAULT",
            "DROP TABLE n",
            UNKNOWN,
        ),
        ("BEGIN; CREATE TABLE t (id int); ROLLBACK", "DROP TABLE t", UNKNOWN),
        ("UPDATE t SET a = 1 WHERE b", "", UNKNOWN),
        ("ALTER TABLE t ADD a int; UPDATE t SET a = 1", "ALTER TABLE t DROP a", UNKNOWN),
        ("INSERT INTO t VALUES (1)", "", UNKNOWN),
        ("", "DELETE FROM t WHERE id = 1", UNKNOWN),
        ("ALTER TABLE t ALTER a TYPE int", "", UNKNOWN),
        ("ALTER TABLE t DROP a", "ALTER TABLE t ADD a text; UPDATE t SET a = b", UNKNOWN),
        (
            "CREATE TABLE n AS SELECT * FROM t; DROP TABLE t",
            "CREATE TABLE t (id int); INSERT INTO t SELECT * FROM n",
            UNKNOWN,
        ),
        ("DROP TABLE IF EXISTS t; CREATE TABLE t (id int)", "DROP TABLE t", UNKNOWN),
        ("", "DROP TYPE mood CASCADE", UNKNOWN),
        ("", "DROP FUNCTION f CASCADE", UNKNOWN),
        ("", "DROP EXTENSION postgis", UNKNOWN),
        ("", "DROP MATERIALIZED VIEW v", UNKNOWN),
        (
            "CREATE TABLE n (id int); CREATE TRIGGER x BEFORE INSERT ON n EXECUTE FUNCTION f(); "
            "INSERT INTO n VALUES (1)",
            "DROP TABLE n",
            UNKNOWN,
        ),
        (
            "CREATE TABLE n (id int PRIMARY KEY); ALTER TABLE t ADD n int REFERENCES n ON DELETE CASCADE",
            "DELETE FROM n; DROP TABLE n CASCADE",
            UNKNOWN,
        ),
        (
            "CREATE TABLE n (id int PRIMARY KEY); ALTER TABLE t ADD n int REFERENCES n",
            "TRUNCATE n CASCADE",
            UNKNOWN,
        ),
        ("COPY t TO PROGRAM 'sh'", "", UNKNOWN),
        ("CREATE RULE r AS ON INSERT TO t DO INSTEAD DELETE FROM t", "", UNKNOWN),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else value,
)
def test_the_answer_for_a_pair_of_scripts(up, down, answer):
    assert read_down(up, down).existing is answer


def test_reasons_name_the_script_and_the_object():
    assert read_down("ALTER TABLE h ADD a text", "ALTER TABLE h DROP a").reasons == (
        "the down drops column h.a, created by this migration",
    )
    assert read_down("UPDATE t SET a = 1", "DELETE FROM t").reasons == (
        "the down deletes from t, all rows",
        "the up updates t, which may be older than the up and have triggers",
    )


# Scripts are drawn from these statements and run on a real server, where rows and values are looked up by
# the numbers that PostgreSQL gave their table and column, so that renames and namesakes deceive nobody.
WORLD = """
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, note text);
CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE, item text);
CREATE SCHEMA app; CREATE TABLE app.users (id int PRIMARY KEY, name text);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN UPDATE orders SET item = 'touched ' || id; RETURN NULL; END $$;
CREATE TRIGGER touch AFTER INSERT OR UPDATE ON users EXECUTE FUNCTION touch();
INSERT INTO users SELECT n, 'user ' || n, 'note ' || n FROM generate_series(1, 3) n;
INSERT INTO orders SELECT n, n, 'item ' || n FROM generate_series(1, 3) n;
INSERT INTO app.users SELECT n, 'app user ' || n FROM generate_series(1, 3) n;
"""
STATEMENTS = (
    "CREATE TABLE fresh (id int PRIMARY KEY, name text)",
    "CREATE TABLE IF NOT EXISTS users (id int)",
    "CREATE TABLE IF NOT EXISTS fresh (id int)",
    "CREATE TABLE app.fresh AS SELECT * FROM users",
    "CREATE TABLE users_new AS SELECT * FROM users",
    "CREATE TEMP TABLE orders AS SELECT 1 AS id",
    "CREATE TABLE child () INHERITS (users)",
    "CREATE VIEW v AS SELECT id, name FROM users",
    "CREATE SCHEMA extra CREATE TABLE users (id int)",
    "ALTER TABLE users RENAME TO people",
    "ALTER TABLE people RENAME TO users",
    "ALTER TABLE users RENAME TO users_old",
    "ALTER TABLE users_new RENAME TO users",
    "ALTER TABLE users_old RENAME TO users",
    "ALTER TABLE orders RENAME item TO thing",
    "ALTER TABLE orders RENAME thing TO item",
    "ALTER TABLE orders ADD item text",
    "ALTER TABLE orders ADD thing text DEFAULT 'x'",
    "ALTER TABLE orders ADD COLUMN IF NOT EXISTS item text",
    "ALTER TABLE orders DROP thing",
    "ALTER TABLE orders DROP COLUMN IF EXISTS item",
    "ALTER TABLE public.orders DROP item",
    "ALTER TABLE users ADD fresh_id int REFERENCES fresh ON DELETE CASCADE",
    "ALTER TABLE users DROP fresh_id",
    "ALTER TABLE users INHERIT fresh",
    "ALTER TABLE orders ALTER item TYPE varchar(2) USING left(item, 2)",
    "ALTER TABLE users ALTER note SET DEFAULT 'none'",
    "ALTER TABLE users SET SCHEMA extra",
    "INSERT INTO fresh SELECT id, name FROM users",
    "INSERT INTO users VALUES (9, 'nine', NULL)",
    "INSERT INTO users_new VALUES (9, 'nine')",
    "UPDATE users SET note = NULL",
    "UPDATE users SET fresh_id = 1",
    "UPDATE orders SET thing = item",
    "UPDATE fresh SET name = 'x'",
    "DELETE FROM fresh",
    "DELETE FROM v WHERE id = 1",
    "DELETE FROM users",
    "DELETE FROM orders WHERE id = 2",
    "TRUNCATE fresh CASCADE",
    "TRUNCATE orders",
    "DROP TABLE fresh",
    "DROP TABLE IF EXISTS fresh CASCADE",
    "DROP TABLE app.fresh",
    "DROP TABLE users CASCADE",
    "DROP TABLE IF EXISTS users_old",
    "DROP TABLE people",
    "DROP TABLE orders",
    "DROP VIEW v",
    "DROP SCHEMA extra CASCADE",
    "DROP SCHEMA app CASCADE",
    "SET search_path TO app, public",
    "CREATE TRIGGER t AFTER INSERT ON fresh EXECUTE FUNCTION touch()",
    "CREATE INDEX ON orders (item)",
    "DO $$ BEGIN DELETE FROM orders; END $$",
    "SELECT count(*) FROM users",
)


def test_safe_is_never_wrong_on_a_real_server(pg18: RealServer):
    """Random pairs of scripts; whatever is called safe and runs must have kept every old value in place."""
    chance = random.Random(20_240_611)
    safe = lossy = 0
    with pg18.database() as name, pg18.connect(name) as connection:
        connection.autocommit = False
        connection.execute(WORLD)
        connection.commit()
        before = _values(connection, _columns(connection))
        columns = _columns(connection)
        for _ in range(1_500):
            up = chance.choices(STATEMENTS, k=chance.randint(1, 3))
            down = chance.choices(STATEMENTS, k=chance.randint(0, 3))
            answer = read_down("; ".join(up), "; ".join(down)).existing
            if answer is Existing.UNKNOWN or not _ran(connection, up, down):
                connection.rollback()
                continue
            kept = before <= _values(connection, columns)
            connection.rollback()
            assert answer is not Existing.SAFE or kept, (up, down)
            safe += answer is Existing.SAFE
            lossy += answer is Existing.LOSSY
    assert safe > 30
    assert lossy > 30


def _ran(connection: psycopg.Connection, up: Sequence[str], down: Sequence[str]) -> bool:
    """Run up and down; the down begins with the settings and without the temporary tables of the up."""
    try:
        for text in up:
            connection.execute(text.encode())
        connection.execute("SET search_path TO DEFAULT")
        connection.execute("DROP TABLE IF EXISTS pg_temp.orders")
        for text in down:
            connection.execute(text.encode())
    except psycopg.Error:
        return False
    return True


def _columns(connection: psycopg.Connection) -> list[tuple[int, int]]:
    """Table and column numbers of everything in the world."""
    return connection.execute(
        "SELECT attrelid::int8, attnum::int4 FROM pg_catalog.pg_attribute "
        "JOIN pg_catalog.pg_class ON pg_class.oid = attrelid "
        "WHERE relkind = 'r' AND attnum > 0 AND relnamespace IN ('public'::regnamespace, 'app'::regnamespace)"
    ).fetchall()


def _values(connection: psycopg.Connection, columns: list[tuple[int, int]]) -> set[tuple[int, int, str]]:
    """Every non-null value with the numbers of its table and column, as far as these are still there."""
    found: set[tuple[int, int, str]] = set()
    for table, column in columns:
        named = connection.execute(
            "SELECT pg_catalog.format('SELECT id || '' '' || %%I FROM ONLY %%s WHERE %%I IS NOT NULL', "
            "attname, attrelid::regclass, attname) FROM pg_catalog.pg_attribute "
            "WHERE attrelid = %s AND attnum = %s AND NOT attisdropped",
            [table, column],
        ).fetchone()
        if named is not None:
            rows = connection.execute(named[0].encode()).fetchall()
            found |= {(table, column, value) for (value,) in rows}
    return found
