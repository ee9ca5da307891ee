-- Everything that a dump, its reader or a restore may trip over.
CREATE ROLE snapshot_owner;
CREATE ROLE snapshot_reader;
GRANT snapshot_owner TO snapshot_reader;
CREATE SCHEMA "Odd ""schema""";
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', '"happy"');
CREATE TABLE plain (id bigserial PRIMARY KEY, name text, note text DEFAULT 'it''s', seen timestamptz DEFAULT now(),
    price numeric(20, 5), ratio float8, how mood, tags text[], doc jsonb, raw bytea, span interval, paid money);
INSERT INTO plain (name, price, ratio, how, tags, doc, raw, span, paid)
    SELECT 'row ' || g || E'\ttab\nnewline\\.' || chr(8364), g / 7.0, g / 3.0, 'it''s ok',
           ARRAY['a,b', '{c}', NULL, '\.'], jsonb_build_object('k', g), decode(md5(g::text), 'hex'),
           g * interval '1 hour 3 sec', g * 1.01::money
    FROM generate_series(1, 500) g;
INSERT INTO plain (name) VALUES (NULL), (''), (E'\\N'), (E'\\.'), ('\.'), (E'a\n\\.\nb'), ('"');
CREATE TABLE big (id int PRIMARY KEY, body text);
INSERT INTO big SELECT g, (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 200 + g % 3))
    FROM generate_series(1, 60) g;
CREATE TABLE "Odd ""schema""".U&"two\000alines FROM stdin;\000aCOPY x" (U&"a\000ab" int, "from" text, "select" int);
INSERT INTO "Odd ""schema""".U&"two\000alines FROM stdin;\000aCOPY x" VALUES (1, 'x', 2), (2, E'\n', NULL);
CREATE SEQUENCE "Odd ""schema"""."it's; a
COPY" START 41;
SELECT nextval('"Odd ""schema"""."it''s; a
COPY"');
CREATE SEQUENCE never_called;
CREATE TABLE parted (id int, at date, v text) PARTITION BY RANGE (at);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
INSERT INTO parted SELECT g, date '2024-06-01' + g, 'v' || g FROM generate_series(1, 400) g;
CREATE TABLE by_mood (how mood, n int) PARTITION BY HASH (how);
CREATE TABLE by_mood_0 PARTITION OF by_mood FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE by_mood_1 PARTITION OF by_mood FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO by_mood SELECT (enum_range(NULL::mood))[1 + g % 3], g FROM generate_series(1, 90) g;
CREATE TABLE made (a int, b int GENERATED ALWAYS AS (a * 2) STORED, c text, dropped int);
ALTER TABLE made DROP COLUMN dropped;
INSERT INTO made (a, c) SELECT g, 'c' FROM generate_series(1, 20) g;
CREATE TABLE parent (p1 int, p2 text);
CREATE TABLE child (own int, p2 text, p1 int);
ALTER TABLE child INHERIT parent;
INSERT INTO child VALUES (1, 'two', 3), (4, 'five', 6);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE empty_one (id int);
CREATE TABLE gaps (id int, pad text);
INSERT INTO gaps SELECT g, repeat(chr(65 + g % 26), CASE g % 3 WHEN 0 THEN 1900 WHEN 1 THEN 1200 ELSE 40 END)
    FROM generate_series(1, 300) g;
CREATE MATERIALIZED VIEW counts AS SELECT count(*) FROM plain;
CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note := ''changed''; RETURN NEW; END';
CREATE TRIGGER loud BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION loud();
ALTER TABLE plain OWNER TO snapshot_owner;
GRANT SELECT ON plain TO snapshot_reader;
SELECT lo_from_bytea(0, convert_to(repeat('large ', 9000), 'UTF8'));
SELECT lo_from_bytea(0, '');
CREATE PUBLICATION told FOR TABLE plain;
