"""Each hazard is named where it is, and not where it is not."""

from __future__ import annotations

import pytest

from backout.sql.parse import statements
from backout.sql.rules import RULES, hazards, rule_named

MET = [
    ("drop-table", "DROP TABLE t"),
    ("drop-column", "ALTER TABLE t ADD a int, DROP b"),
    ("truncate", "TRUNCATE t"),
    ("delete-without-where", "DELETE FROM t"),
    ("delete-without-where", "WITH x AS (DELETE FROM t RETURNING 1) SELECT 1"),
    ("update-without-where", "UPDATE t SET a = 1"),
    ("add-not-null-without-default", "ALTER TABLE t ADD a int NOT NULL"),
    ("narrowing-type", "ALTER TABLE t ALTER a TYPE varchar(20)"),
    ("narrowing-type", "ALTER TABLE t ALTER a TYPE int"),
    ("narrowing-type", "ALTER TABLE t ALTER a TYPE uuid USING a::uuid"),
    ("set-not-null", "ALTER TABLE t ALTER a SET NOT NULL"),
    ("add-foreign-key", "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u"),
    ("add-foreign-key", "ALTER TABLE t ADD a int DEFAULT 1 REFERENCES u"),
    ("add-check-validated", "ALTER TABLE t ADD CHECK (a > 0)"),
    ("add-enum-value", "ALTER TYPE mood ADD VALUE 'x'"),
    ("concurrent-index", "CREATE INDEX CONCURRENTLY ON t (a)"),
    ("concurrent-index", "DROP INDEX CONCURRENTLY i"),
    ("outside-transaction", "VACUUM t"),
    ("copy-program", "COPY t FROM PROGRAM 'curl'"),
    ("copy-program", "COPY t TO '/tmp/t'"),
    ("copy-program", "DO $$ BEGIN EXECUTE 'COPY t TO PROGRAM ''sh'''; END $$"),
    ("reaches-out", "SELECT lo_import('/etc/passwd')"),
    ("reaches-out", "SELECT * FROM app.dblink('x', 'y') AS r (a int)"),
    ("reaches-out", "INSERT INTO t VALUES (pg_read_file('x'))"),
    ("reaches-out", "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT pg_read_file (''x'')'"),
    ("alter-system", "ALTER SYSTEM SET work_mem = 1"),
    ("create-extension", "CREATE EXTENSION hstore"),
    ("security-definer", "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'"),
    ("cascade", "DROP VIEW v CASCADE"),
    ("cascade", "TRUNCATE t CASCADE"),
    ("dynamic-sql", "DO $$ $$"),
    ("dynamic-sql", "CALL p()"),
    ("triggers-off", "ALTER TABLE t DISABLE TRIGGER x"),
    ("triggers-off", "SET session_replication_role = replica"),
    ("triggers-off", "SELECT set_config('session_replication_role', 'replica', true)"),
    ("rename", "ALTER TABLE t RENAME a TO b"),
    ("psql-meta-command", "\\! rm -rf /"),
    ("not-understood", "DROP TABEL t"),
]
NOT_MET = [
    ("drop-table", "DROP VIEW t"),
    ("drop-column", "ALTER TABLE t DROP CONSTRAINT c"),
    ("truncate", "DELETE FROM t"),
    ("delete-without-where", "DELETE FROM t WHERE id = 1"),
    ("update-without-where", "UPDATE t SET a = 1 WHERE a IS NULL"),
    ("add-not-null-without-default", "ALTER TABLE t ADD a int NOT NULL DEFAULT 1"),
    ("add-not-null-without-default", "ALTER TABLE t ADD a bigserial"),
    ("narrowing-type", "ALTER TABLE t ALTER a TYPE text"),
    ("narrowing-type", "ALTER TABLE t ALTER a TYPE bigint"),
    ("set-not-null", "ALTER TABLE t ALTER a DROP NOT NULL"),
    ("add-foreign-key", "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u NOT VALID"),
    ("add-foreign-key", "ALTER TABLE t ADD a int REFERENCES u"),
    ("add-check-validated", "ALTER TABLE t ADD CHECK (a > 0) NOT VALID"),
    ("add-enum-value", "ALTER TYPE mood RENAME VALUE 'a' TO 'b'"),
    ("concurrent-index", "CREATE INDEX ON t (a)"),
    ("outside-transaction", "CREATE INDEX CONCURRENTLY ON t (a)"),
    ("copy-program", "COPY t FROM STDIN"),
    ("reaches-out", "SELECT 'lo_import('"),
    ("alter-system", "ALTER DATABASE d SET work_mem = 1"),
    ("create-extension", "DROP EXTENSION hstore"),
    ("security-definer", "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY INVOKER AS 'SELECT 1'"),
    ("cascade", "DROP VIEW v"),
    ("dynamic-sql", "SELECT 1"),
    ("triggers-off", "ALTER TABLE t ENABLE TRIGGER x"),
    ("rename", "ALTER INDEX i RENAME TO j"),
    ("psql-meta-command", "SELECT '\\! ls'"),
    ("not-understood", "\\i x"),
]


@pytest.mark.parametrize(("name", "text"), MET, ids=[f"{name}: {text[:40]}" for name, text in MET])
def test_a_rule_is_met(name, text):
    (statement,) = statements(text)
    assert name in statement.hazards
    assert hazards(statement) == statement.hazards


@pytest.mark.parametrize(("name", "text"), NOT_MET, ids=[f"{name}: {text[:40]}" for name, text in NOT_MET])
def test_a_rule_is_not_met(name, text):
    assert name not in statements(text)[0].hazards


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_says_what_is_wrong_and_what_to_do(rule):
    assert rule.problem.endswith(".")
    assert rule.solution.endswith(".")
    assert rule.name in {name for name, _ in MET}
    assert rule.name in {name for name, _ in NOT_MET}


def test_a_rule_is_found_by_its_name():
    assert [rule_named(rule.name) for rule in RULES] == list(RULES)
    assert rule_named("no-such-rule") is None


def test_a_harmless_script_meets_no_rule():
    script = "BEGIN; SELECT count(*) FROM users; CREATE TABLE t (id int NOT NULL); COMMIT"
    assert [statement.hazards for statement in statements(script)] == [(), (), (), ()]
