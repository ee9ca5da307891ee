"""Equal rows have equal fingerprints on every version; whatever changes in a row or two changes the sum."""

from __future__ import annotations

import random
from contextlib import ExitStack

import pytest
from psycopg import sql

from backout.postgres.catalog import read_schema
from backout.postgres.connect import Session
from backout.postgres.fingerprint import Fingerprint, row_hash, table_fingerprint
from backout.testing.servers import RealServer, available_majors
from tests.conftest import server_of
from tests.loss.databases import session_of

ALL_TYPES = """
CREATE TYPE public.mood AS ENUM ('sad', 'ok'); CREATE DOMAIN public.small AS int CHECK (VALUE < 100);
CREATE DOMAIN public.smaller AS public.small; CREATE TYPE public.pair AS (a int, m public.mood);
CREATE TYPE public.span AS RANGE (subtype = float8); CREATE DOMAIN public.feel AS public.mood;
CREATE TABLE public.t (id int PRIMARY KEY, a smallint, b bigint, c numeric, d real, e double precision,
  f text, g varchar(9), h char(5), i bytea, j date, k timestamp, l timestamptz, m interval, n time, o timetz,
  p boolean, q uuid, r json, s jsonb, t xml, u inet, v cidr, w macaddr, x point, y box, z bit(3), aa varbit,
  ab tsvector, ac tsquery, ad int4range, ae money, af jsonpath, ag oid, ah name, ai "char", aj int[],
  ak text[],
  al public.mood, am public.small, an public.smaller, ao public.pair, ap public.span, aq public.mood[],
  ar public.feel, as_ public.small[], at regclass, au regtype[], av pg_lsn, aw macaddr8, ax polygon);
INSERT INTO public.t SELECT g, g, g * 1000000007::bigint, (g || '.' || g || '0')::numeric, g / 7.0, g / 7.0,
  'text ' || g, 'v' || g, 'c', decode(md5(g::text), 'hex'), '2020-01-01'::date + g, '2020-01-01'::timestamp,
  '2020-01-01 00:00+00', '1 mon 2 days', '10:00', '10:00+02', g % 2 = 0, md5(g::text)::uuid, '{"a": 1.0}',
  '{"a": 1.00}', NULL, '10.0.0.1', '10.0.0.0/8', '08:00:2b:01:02:03', '(1,2)', '(1,2),(0,0)', B'101', B'1',
  'a b', 'a & b', '[1,4)', '12.34', '$.a', g, 'n', 'x', ARRAY[1, g, NULL], ARRAY['a', NULL], 'ok', 5, 6,
  ('(' || g || ',sad)')::public.pair, '[1,2]', ARRAY['ok', 'sad']::public.mood[], 'ok',
  ARRAY[1, 2]::public.small[], 'public.t',
  ARRAY['int4']::regtype[], '0/1', '08:00:2b:01:02:03:04:05', '((0,0),(1,1))'
  FROM pg_catalog.generate_series(1, 50) g;
INSERT INTO public.t (id) VALUES (51);
"""
SHUFFLED_OIDS = (
    "CREATE TYPE public.first AS ENUM ('x'); DROP TYPE public.first; CREATE TABLE public.x (i int);"
)


def _of(session: Session, seed: int = 7) -> Fingerprint:
    table = read_schema(session).by_name["public.t"]
    return table_fingerprint(session, table, table.columns, seed)


def test_the_same_contents_have_the_same_fingerprint_on_every_version():
    found = set()
    for major in set(available_majors()) & {15, 16, 18}:
        server = server_of(major)
        for before in ("", SHUFFLED_OIDS):
            with server.database() as name:
                with server.connect(name, options="-c datestyle=ISO -c lc_monetary=C") as app:
                    app.execute(before + ALL_TYPES)
                with session_of(server, name) as session:
                    found.add(_of(session))
    assert len(found) == 1
    assert found.pop().rows == 51


def test_rows_too_large_for_one_binary_form_have_a_wide_fingerprint(pg16: RealServer):
    with pg16.database() as name, session_of(pg16, name) as session:
        value = [sql.SQL("'a'::text"), sql.SQL("NULL::text")]
        other = [sql.SQL("NULL::text"), sql.SQL("'a'::text")]
        hashes = [row_hash(v, 1, wide=wide) for v in (value, other) for wide in (False, True)]
        row = session.execute(sql.SQL("SELECT {}").format(sql.SQL(", ").join(hashes))).fetchone()
    assert row is not None
    assert len(set(row)) == 4


MUTATIONS = (
    "UPDATE public.m SET {c} = {d} WHERE id = {r}",
    "UPDATE public.m SET {c} = NULL WHERE id = {r} AND {c} IS NOT NULL",
    "UPDATE public.m SET {c} = CASE id WHEN {r} THEN (SELECT {c} FROM public.m WHERE id = {s})"
    " ELSE (SELECT {c} FROM public.m WHERE id = {r}) END WHERE id IN ({r}, {s})",
    "UPDATE public.m SET a = (a << 32) | ((a >> 32) & 4294967295) WHERE id = {r}",
    "UPDATE public.m SET b = c, c = b WHERE id = {r}",
    "UPDATE public.m SET b = b || left(c, 1), c = substr(c, 2) WHERE id = {r}",
    "UPDATE public.m SET b = '' WHERE id = {r} AND b IS NULL",
    "DELETE FROM public.m WHERE id = {r}",
    "UPDATE public.m SET n = n * 1.0 WHERE id = {r}",
)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_mutation_of_a_row_or_two_changes_the_sum(pg: RealServer, seed: int):
    """Values that change places between rows, halves of a bigint, shifts between columns, NULL and empty."""
    chance = random.Random(seed)
    setup = """CREATE TABLE public.m (id int PRIMARY KEY, a bigint, b text, c text, n numeric);
    INSERT INTO public.m SELECT g, g * 4294967299, CASE WHEN g % 3 > 0 THEN 'b' || g % 5 END,
    'c' || g % 7, g FROM pg_catalog.generate_series(1, 40) g"""
    exact = "SELECT pg_catalog.md5(pg_catalog.string_agg(t::text, E'\\n' ORDER BY id)) FROM public.m t"
    with ExitStack() as stack:
        name = stack.enter_context(pg.database())
        session = stack.enter_context(session_of(pg, name))
        session.execute(setup)
        table = read_schema(session).by_name["public.m"]
        base = table_fingerprint(session, table, table.columns, seed)
        truth = session.execute(exact).fetchone()
        changed = 0
        for _ in range(150):
            first, second = chance.sample(range(1, 41), 2)
            column = chance.choice(["b", "c"])
            text = chance.choice(MUTATIONS).format(r=first, s=second, c=column, d="'d'")
            with session.transaction(force_rollback=True):
                session.execute(text)
                same = session.execute(exact).fetchone() == truth
                assert (table_fingerprint(session, table, table.columns, seed) == base) is same, text
                changed += not same
    assert changed > 80
