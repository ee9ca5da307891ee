"""Each statement gets the class, tag and summary that PostgreSQL and an operator would give it."""

from __future__ import annotations

import pytest

from backout.model.statement import StatementClass
from backout.sql.parse import isolation_asked, statements

READ = [
    "SELECT 1",
    "SELECT count(*), lower(name), now() FROM users WHERE id = $1",
    "SELECT pg_catalog.set_config('search_path', '', false)",
    "SELECT pg_try_advisory_lock(7241865325823964)",
    "SELECT pg_advisory_unlock(1)",
    "SELECT to_regclass('public.hero_snapshots')",
    "SELECT version()",
    "SELECT current_setting('server_version'), current_database(), current_user",
    "SELECT nspname, (information_schema._pg_expandarray(indkey)).n FROM pg_index, pg_namespace",
    "WITH recent AS (SELECT * FROM users) SELECT * FROM recent",
    "SELECT a FROM t UNION SELECT b FROM u ORDER BY 1 LIMIT 3",
    "VALUES (1), (2)",
    "TABLE users",
    "COPY users TO STDOUT",
    "COPY (SELECT id FROM users) TO STDOUT WITH (FORMAT csv)",
    "EXPLAIN DELETE FROM users",
    "EXPLAIN (ANALYZE off) DELETE FROM users",
    "EXPLAIN ANALYZE SELECT 1",
    "SET search_path TO app",
    "SET LOCAL lock_timeout = '3s'",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "RESET ALL",
    "SHOW server_version",
    "DISCARD ALL",
    "LISTEN changes",
    "NOTIFY pgrst, 'reload schema'",
    "DEALLOCATE ALL",
    "PREPARE gone AS DELETE FROM users",
    "LOCK TABLE users IN ACCESS EXCLUSIVE MODE",
    "DECLARE c CURSOR FOR SELECT * FROM users",
    "FETCH 10 FROM c",
    "SET CONSTRAINTS ALL DEFERRED",
    "SELECT currval('users_id_seq')",
]
WRITE = [
    "INSERT INTO users (id) VALUES (1)",
    "UPDATE users SET name = 'x'",
    "DELETE FROM users",
    "MERGE INTO users u USING news n ON u.id = n.id WHEN MATCHED THEN DELETE",
    "TRUNCATE users",
    "SELECT purge_old_users()",
    "SELECT app.now()",
    "SELECT 1 WHERE EXISTS (SELECT wipe() FROM users)",
    "SELECT * FROM users FOR UPDATE",
    "SELECT * FROM (SELECT * FROM users FOR KEY SHARE) locked",
    "SELECT id INTO kept FROM users",
    "WITH gone AS (DELETE FROM users RETURNING id) SELECT count(*) FROM gone",
    "SELECT nextval('users_id_seq')",
    "SELECT setval('users_id_seq', 1)",
    "SELECT lo_unlink(1)",
    "SELECT 1 OPERATOR(app.+) 2",
    "SELECT query_to_xml('delete from users', true, true, '')",
    "COPY users FROM STDIN",
    "COPY users FROM PROGRAM 'curl http://example.com'",
    "COPY users TO PROGRAM 'cat'",
    "COPY users TO '/tmp/users'",
    "COPY (SELECT wipe()) TO STDOUT",
    "EXPLAIN ANALYZE DELETE FROM users",
    "EXPLAIN (ANALYZE, BUFFERS) UPDATE users SET name = 'x'",
    "DECLARE c CURSOR FOR SELECT wipe()",
    "REFRESH MATERIALIZED VIEW totals",
    "LOAD 'evil'",
]
DDL = [
    "CREATE TABLE users (id int)",
    "CREATE TABLE copy AS SELECT * FROM users",
    "ALTER TABLE users DROP COLUMN name",
    "CREATE INDEX ON users (name)",
    "DROP INDEX users_name_idx",
    "ALTER TYPE mood ADD VALUE 'calm'",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "COMMENT ON TABLE users IS 'people'",
    "GRANT SELECT ON users TO app",
    "ANALYZE users",
    "REINDEX TABLE users",
    "CLUSTER users",
    "ALTER TABLE m DETACH PARTITION p",
    "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (create_slot = false)",
    "DROP OWNED BY app",
]
NON_TRANSACTIONAL = [
    "CREATE INDEX CONCURRENTLY i ON users (name)",
    "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON users (name)",
    "DROP INDEX CONCURRENTLY i",
    "REINDEX INDEX CONCURRENTLY i",
    "REINDEX (CONCURRENTLY, VERBOSE) TABLE users",
    "REINDEX DATABASE shop",
    "VACUUM users",
    "VACUUM (ANALYZE) users",
    "CREATE DATABASE shop",
    "DROP DATABASE shop",
    "ALTER DATABASE shop SET TABLESPACE fast",
    "CREATE TABLESPACE fast LOCATION '/fast'",
    "DROP TABLESPACE fast",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "ALTER TABLE m DETACH PARTITION p CONCURRENTLY",
    "CLUSTER",
    "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p",
    "ALTER SUBSCRIPTION s REFRESH PUBLICATION",
    "DROP SUBSCRIPTION s",
    "COMMIT PREPARED 'x'",
]
BOUNDARIES = [
    ("BEGIN", StatementClass.BEGIN),
    ("begin;", StatementClass.BEGIN),
    ("START TRANSACTION READ ONLY", StatementClass.BEGIN),
    ("BEGIN ISOLATION LEVEL REPEATABLE READ", StatementClass.BEGIN),
    ("COMMIT", StatementClass.COMMIT),
    (" commit ; ", StatementClass.COMMIT),
    ("END", StatementClass.COMMIT),
    ("COMMIT AND CHAIN", StatementClass.COMMIT),
    ("PREPARE TRANSACTION 'x'", StatementClass.COMMIT),
    ("ROLLBACK", StatementClass.ROLLBACK),
    ("ABORT", StatementClass.ROLLBACK),
    ("/* pool */ ROLLBACK", StatementClass.ROLLBACK),
    ("SAVEPOINT s", StatementClass.SAVEPOINT),
    ("RELEASE s", StatementClass.SAVEPOINT),
    ("ROLLBACK TO SAVEPOINT s", StatementClass.SAVEPOINT),
]
DYNAMIC = ["DO $$ BEGIN DELETE FROM users; END $$", "CALL tidy()", "EXECUTE gone"]
UNKNOWN = ["SELEC 1", "\\i other.sql", "SELECT 'open", "DROP TABLE", "SELECT 1\0; DROP TABLE users"]

CASES = [
    *((text, StatementClass.READ) for text in READ),
    *((text, StatementClass.WRITE) for text in WRITE),
    *((text, StatementClass.DDL) for text in DDL),
    *((text, StatementClass.NON_TRANSACTIONAL) for text in NON_TRANSACTIONAL),
    *((text, StatementClass.DYNAMIC) for text in DYNAMIC),
    *((text, StatementClass.UNKNOWN) for text in UNKNOWN),
    *BOUNDARIES,
]


@pytest.mark.parametrize(("text", "klass"), CASES, ids=[text[:60] for text, _ in CASES])
def test_a_statement_has_its_class(text, klass):
    (statement,) = statements(text)
    assert statement.klass is klass


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("begin", "BEGIN"),
        ("START TRANSACTION", "START TRANSACTION"),
        ("end", "COMMIT"),
        ("ROLLBACK TO s", "ROLLBACK"),
        ("ALTER TABLE t DROP a", "ALTER TABLE"),
        ("ALTER TABLE t RENAME a TO b", "ALTER TABLE"),
        ("ALTER VIEW v RENAME COLUMN a TO b", "ALTER VIEW"),
        ("ALTER TABLE t RENAME TO u", "ALTER TABLE"),
        ("ALTER TABLE t RENAME CONSTRAINT a TO b", "ALTER TABLE"),
        ("DROP MATERIALIZED VIEW v", "DROP MATERIALIZED VIEW"),
        ("DROP INDEX i", "DROP INDEX"),
        ("SELECT 1 INTO t", "SELECT INTO"),
        ("CREATE TABLE t AS SELECT 1", "CREATE TABLE AS"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE MATERIALIZED VIEW"),
        ("TRUNCATE t", "TRUNCATE TABLE"),
        ("REVOKE ALL ON t FROM u", "REVOKE"),
        ("CREATE PROCEDURE p() LANGUAGE sql AS ''", "CREATE PROCEDURE"),
        ("ANALYZE", "ANALYZE"),
        ("RESET work_mem", "RESET"),
        ("CREATE USER MAPPING FOR u SERVER s", "CREATE USER MAPPING"),
        ("COPY t FROM STDIN", "COPY"),
        ("EXPLAIN SELECT 1", "EXPLAIN"),
        ("LOCK t", "LOCK TABLE"),
        ("\\! ls", "\\!"),
        ("drop tabel t", "DROP TABEL"),
    ],
)
def test_the_tag_is_the_one_that_postgresql_reports(text, tag):
    assert statements(text)[0].tag == tag


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        (
            "ALTER TABLE hero_snapshots DROP COLUMN source, ADD confidence int",
            "hero_snapshots: DROP COLUMN source, ADD confidence",
        ),
        ("ALTER TABLE hero_snapshots RENAME power TO strength", "hero_snapshots: RENAME power"),
        ('DROP TABLE app."Old Users" CASCADE', 'app."Old Users": DROP TABLE CASCADE'),
        ("DELETE FROM users", "users: DELETE of every row"),
        ("DELETE FROM users WHERE id = 1", "users: DELETE"),
        ("DO $$ BEGIN END $$", "runs code (DO)"),
        ("SELECT * FROM users", "SELECT users"),
        ("SET lock_timeout = 1", "SET lock_timeout"),
        ("COMMENT ON TABLE users IS 'x'", "COMMENT"),
        ("GRANT SELECT ON users TO u", "users: GRANT"),
        ("CREATE INDEX i ON users (a)", "users: CREATE INDEX i"),
        ("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u", "t: ADD CONSTRAINT (foreign key)"),
        ("nonsense here", "not understood: NONSENSE HERE"),
    ],
)
def test_the_summary_is_a_phrase_for_people(text, summary):
    assert statements(text)[0].summary == summary


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("DELETE FROM app.users USING orders WHERE true", ("app.users", "orders")),
        ("WITH x AS (SELECT 1) SELECT * FROM x, users, users u2", ("users",)),
        ("DROP TABLE a, b.c", ("a", "b.c")),
        ("TRUNCATE a, b", ("a", "b")),
        ('ALTER TABLE "Users" RENAME TO people', ('"Users"',)),
        ("CREATE INDEX ON t (a)", ("t",)),
        ("SELECT 1", ()),
    ],
)
def test_objects_are_named_as_written(text, objects):
    assert statements(text)[0].objects == objects


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("BEGIN", None),
        ("SELECT 'isolation level serializable'", None),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", "serializable"),
        ("START TRANSACTION READ ONLY, ISOLATION LEVEL repeatable read", "repeatable read"),
        ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "read committed"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE", "serializable"),
        ("SET default_transaction_isolation = 'repeatable read'", "repeatable read"),
        ("SET LOCAL transaction_isolation TO 'Repeatable Read'", "repeatable read"),
        ("SELECT set_config('default_transaction_isolation', 'serializable', false)", "serializable"),
        ("SELECT set_config('transaction_isolation', $1, true)", "serializable"),
        ("RESET default_transaction_isolation", None),
        ("isolation, but no SQL", None),
        ("BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1", "repeatable read"),
    ],
)
def test_the_isolation_level_that_is_asked_for(text, level):
    assert isolation_asked(text) == level


def test_an_answer_comes_from_the_cache_the_second_time():
    assert statements("DROP TABLE once") is statements("DROP TABLE once")
