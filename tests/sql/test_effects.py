"""What a statement creates, changes and takes away, thing by thing."""

from __future__ import annotations

import pytest

from backout.sql.effects import Effect, EffectKind, Trait, effects
from backout.sql.names import qualified, split_qualified
from backout.sql.summary import summarise

K = EffectKind


def short(effect: Effect) -> str:
    """`KIND table.column other (traits) -> references`, what is empty left out."""
    words = effect.kind.name
    if effect.table or effect.column:
        words += f" {effect.table}" + (f".{effect.column}" if effect.column else "")
    if effect.other:
        words += f" {effect.other}"
    if effect.traits:
        words += f" ({', '.join(sorted(effect.traits))})"
    return words + (f" -> {effect.references}" if effect.references else "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "DROP TABLE IF EXISTS app.users, orders",
            "DROP_TABLE app.users (if exists)|DROP_TABLE orders (if exists)",
        ),
        ('DROP TABLE "Old Users" CASCADE', 'DROP_TABLE "Old Users" (cascade)'),
        ("DROP MATERIALIZED VIEW v", "DROP_VIEW v (materialized)"),
        ("DROP INDEX CONCURRENTLY app.i", "DROP_INDEX app.i i (concurrently)"),
        ("DROP TRIGGER tr ON app.users", "DROP_TRIGGER app.users tr"),
        ("DROP FUNCTION f(int), g CASCADE", "DROP_FUNCTION f (cascade)|DROP_FUNCTION g (cascade)"),
        ("DROP TYPE mood", "DROP_TYPE mood"),
        ("DROP DOMAIN d", "DROP_TYPE d (domain)"),
        ("DROP SCHEMA app CASCADE", "DROP_SCHEMA app (cascade)"),
        ("DROP EXTENSION hstore", "DROP_EXTENSION hstore"),
        ("DROP SEQUENCE s", "DROP_SEQUENCE s"),
        ("DROP POLICY p ON t", "METADATA t DROP POLICY p"),
        ("DROP OPERATOR + (int, int)", "OTHER + DROP OPERATOR".replace("+", '"+"')),
        ("ALTER TABLE t DROP COLUMN IF EXISTS a CASCADE", "DROP_COLUMN t.a (cascade, if exists)"),
        (
            "ALTER TABLE t ADD a int NOT NULL DEFAULT 1, ADD COLUMN IF NOT EXISTS b varchar(10)[]",
            "ADD_COLUMN t.a integer (default, not null)|ADD_COLUMN t.b varchar(10)[] (if not exists)",
        ),
        ("ALTER TABLE t ADD id bigserial", "ADD_COLUMN t.id bigserial (default, not null)"),
        ("ALTER TABLE t ADD a int DEFAULT NULL", "ADD_COLUMN t.a integer"),
        ("ALTER TABLE t ADD b int GENERATED ALWAYS AS (a * 2) STORED", "ADD_COLUMN t.b integer (generated)"),
        (
            "ALTER TABLE t ADD a int REFERENCES app.u ON DELETE CASCADE",
            "ADD_COLUMN t.a integer (action, foreign key) -> app.u",
        ),
        ("ALTER TABLE t RENAME a TO b", "RENAME_COLUMN t.a b"),
        ("ALTER TABLE t RENAME TO u", "RENAME_TABLE t u"),
        ("ALTER VIEW v RENAME TO w", "OTHER v RENAME TO w"),
        ("ALTER INDEX i RENAME TO j", "METADATA i RENAME INDEX TO j"),
        (
            "ALTER TABLE t ALTER a TYPE numeric(10, 2) USING a::numeric",
            "ALTER_TYPE t.a numeric(10, 2) (using)",
        ),
        ("ALTER TABLE t ALTER a SET DEFAULT 1", "SET_DEFAULT t.a"),
        ("ALTER TABLE t ALTER a DROP DEFAULT", "DROP_DEFAULT t.a"),
        ("ALTER TABLE t ALTER a SET NOT NULL, ALTER b DROP NOT NULL", "SET_NOT_NULL t.a|DROP_NOT_NULL t.b"),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID", "ADD_CONSTRAINT t c (check, not valid)"),
        ("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u (id)", "ADD_CONSTRAINT t (foreign key) -> u"),
        ("ALTER TABLE t ADD PRIMARY KEY USING INDEX i", "ADD_CONSTRAINT t (not null, primary key)"),
        ("ALTER TABLE t DROP CONSTRAINT c", "DROP_CONSTRAINT t c"),
        ("ALTER TABLE t DISABLE TRIGGER ALL, ENABLE TRIGGER x", "DISABLE_TRIGGER t|ENABLE_TRIGGER t x"),
        ("ALTER TABLE t OWNER TO u", "METADATA t OWNER TO"),
        ("ALTER TABLE t VALIDATE CONSTRAINT c", "METADATA t VALIDATE CONSTRAINT"),
        ("ALTER TABLE t ATTACH PARTITION p DEFAULT", "OTHER t ATTACH PARTITION -> p"),
        ("ALTER TABLE t DETACH PARTITION p CONCURRENTLY", "OTHER t DETACH PARTITION (concurrently) -> p"),
        ("ALTER TABLE t SET SCHEMA app", "OTHER t ALTER TABLE"),
        ("ALTER TYPE pair DROP ATTRIBUTE a", "OTHER pair ALTER TYPE of a composite type"),
        ("CREATE TABLE IF NOT EXISTS app.t (id int)", "CREATE_TABLE app.t (if not exists)"),
        ("CREATE TEMP TABLE t AS SELECT 1", "CREATE_TABLE t (temporary)"),
        ("SELECT 1 INTO t", "CREATE_TABLE t"),
        ("CREATE TABLE p PARTITION OF t DEFAULT", "CREATE_TABLE p (partition) -> t"),
        ("CREATE FOREIGN TABLE f (id int) SERVER s", "CREATE_TABLE f (foreign)"),
        ("CREATE SCHEMA app CREATE TABLE t (id int)", "CREATE_SCHEMA app|CREATE_TABLE app.t"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", "CREATE_VIEW v (or replace)"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE_VIEW v (materialized)"),
        ("CREATE UNIQUE INDEX CONCURRENTLY i ON app.t (a)", "CREATE_INDEX app.t i (concurrently, unique)"),
        ("CREATE TYPE mood AS ENUM ('calm')", "CREATE_TYPE mood enum"),
        ("CREATE TYPE pair AS (a int)", "CREATE_TYPE pair composite"),
        ("CREATE DOMAIN d AS int", "CREATE_TYPE d domain (domain)"),
        ("ALTER TYPE mood ADD VALUE IF NOT EXISTS 'x'", "ADD_VALUE mood x (if not exists)"),
        ("ALTER DOMAIN d ADD CHECK (value > 0)", "ADD_CONSTRAINT d (check, domain)"),
        (
            "CREATE FUNCTION app.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
            "CREATE_FUNCTION app.f (security definer)",
        ),
        ("ALTER FUNCTION f() SECURITY DEFINER", "METADATA f ALTER FUNCTION (security definer)"),
        ("CREATE TRIGGER x BEFORE UPDATE ON t EXECUTE FUNCTION f()", "CREATE_TRIGGER t x"),
        ("CREATE EXTENSION IF NOT EXISTS hstore CASCADE", "CREATE_EXTENSION hstore (cascade, if not exists)"),
        ("CREATE SEQUENCE s", "CREATE_SEQUENCE s"),
        ("TRUNCATE a, b CASCADE", "TRUNCATE a (cascade)|TRUNCATE b (cascade)"),
        ("DELETE FROM t", "DELETE t"),
        ("DELETE FROM t WHERE true", "DELETE t"),
        ("DELETE FROM t WHERE 1 = 1", "DELETE t"),
        ("DELETE FROM t WHERE 1 = 2", "DELETE t (where)"),
        ("DELETE FROM t WHERE id = 1", "DELETE t (where)"),
        ("UPDATE t SET a = 1, b = 2", "UPDATE t.a|UPDATE t.b"),
        ("UPDATE t SET (a, b) = (1, 2) WHERE c", "UPDATE t.a (where)|UPDATE t.b (where)"),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 1",
            "INSERT t|UPDATE t.a (on conflict, where)",
        ),
        ("WITH x AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM x", "DELETE a|INSERT b"),
        (
            "CREATE TABLE t AS WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM x",
            "DELETE a|CREATE_TABLE t",
        ),
        ("CREATE TABLE t AS EXECUTE p", "DYNAMIC EXECUTE|CREATE_TABLE t"),
        (
            "MERGE INTO t USING s ON true WHEN MATCHED THEN UPDATE SET a = 1 "
            "WHEN NOT MATCHED THEN DO NOTHING",
            "UPDATE t.a (on conflict, where)",
        ),
        ("COPY t FROM STDIN", "INSERT t"),
        ("EXPLAIN ANALYZE DELETE FROM t", "DELETE t"),
        ("EXPLAIN DELETE FROM t", ""),
        ("SELECT * FROM t", ""),
        ("SET work_mem = 1", ""),
        ("BEGIN", ""),
        ("DO $$ $$", "DYNAMIC DO"),
        ("CALL p()", "DYNAMIC CALL"),
        ("CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING", "OTHER t CREATE RULE"),
        ("GRANT SELECT ON t TO u", "METADATA t GRANT"),
        ("this is no SQL", "OTHER not understood"),
    ],
    ids=lambda value: value[:50],
)
def test_effects_of_one_statement(text, expected):
    assert "|".join(short(effect) for effect in effects(text)) == expected


def test_a_script_has_the_effects_of_its_statements_in_order():
    found = effects("ALTER TABLE t RENAME a TO b; ALTER TABLE t ADD c int, ADD d int; DROP VIEW v")
    assert [effect.kind for effect in found] == [K.RENAME_COLUMN, K.ADD_COLUMN, K.ADD_COLUMN, K.DROP_VIEW]
    assert summarise(found) == "t: RENAME a, ADD c, ADD d; v: DROP VIEW"


def test_a_long_summary_ends_in_a_number():
    found = effects("ALTER TABLE t " + ", ".join(f"ADD c{n} int" for n in range(9)))
    assert summarise(found) == "t: ADD c0, ADD c1, ADD c2, ADD c3, ADD c4, ADD c5, 3 more"


def test_cascade_and_concurrently_are_asked_by_name():
    assert effects("DROP TABLE t CASCADE")[0].cascade
    assert effects("CREATE INDEX CONCURRENTLY ON t (a)")[0].concurrently
    assert Trait.CASCADE not in effects("DROP TABLE t")[0].traits


@pytest.mark.parametrize("parts", [("users",), ("app", "Old Users"), ('we"ird', "a.b"), ("größe", "x$1")])
def test_names_come_apart_as_they_were_put_together(parts):
    assert split_qualified(qualified(*parts)) == parts
