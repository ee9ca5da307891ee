"""A small world with everything that a down can destroy, and the policies that keep it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg

from backout.model.plan import Budgets, Keep, KeepHow
from backout.postgres.connect import open_session
from backout.postgres.proxy.kept_tables import ensure_schema
from backout.postgres.proxy.policy import GatePlan, KeepPlan, Policy

WORLD = """
CREATE TABLE users (id int PRIMARY KEY, name text, first_name text, note jsonb);
INSERT INTO users SELECT n, 'name ' || n, CASE WHEN n % 2 = 0 THEN 'first ' || n END, '{"a": 1}'
  FROM generate_series(1, 10) n;
CREATE TABLE visits (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE, at timestamptz);
INSERT INTO visits SELECT n, n, now() FROM generate_series(1, 5) n;
CREATE TABLE history (id int PRIMARY KEY, name text);
INSERT INTO history VALUES (1, '001'), (2, '002');
"""


def make(dsn: str) -> None:
    """Fill an empty database, with the schemas that keeping needs."""
    with open_session(dsn, "backout/test/1") as session:
        ensure_schema(session)
    with psycopg.connect(dsn, autocommit=True) as direct:
        direct.execute(WORLD)


def keep(table: str, how: KeepHow, *columns: str, key: tuple[str, ...] = ("id",)) -> Keep:
    return Keep(table, 0, how, key, columns)


FIRST_NAME = keep("public.users", KeepHow.COLUMNS, "first_name")
USER_ROWS = keep("public.users", KeepHow.CHANGED_ROWS, "name", "first_name", "note")
VISIT_ROWS = keep("public.visits", KeepHow.CHANGED_ROWS, "user_id", "at")
WHOLE_VISITS = keep("public.visits", KeepHow.WHOLE_TABLE, "id", "user_id", "at")
GATE = GatePlan(bookkeeping=("public.history",))


def policy(*keeps: Keep, gate: GatePlan = GATE, **budgets: Any) -> Policy:
    """Mark, keep and gate; the lock may be held long, tests run on busy machines."""
    limits = replace(Budgets(lock_hold=30.0), **budgets)
    return Policy(mark={"incident": "i", "round": 1}, keep=KeepPlan(keeps, "i"), gate=gate, budgets=limits)


def manifest(direct: psycopg.Connection) -> list[tuple[object, ...]]:
    """What was kept: table, how, rows, values."""
    return direct.execute(
        "SELECT relation, how, rows, kept_values FROM backout_kept.manifest ORDER BY seq"
    ).fetchall()


def kept_tables(direct: psycopg.Connection) -> list[str]:
    """Names of the kept tables, in order."""
    rows = direct.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'backout_kept'::regnamespace"
        " AND relkind = 'r' AND relname <> 'manifest' ORDER BY relname"
    )
    return [str(row[0]) for row in rows]


def leftovers(direct: psycopg.Connection) -> int:
    """Triggers and functions of ours that are still there."""
    row = direct.execute(
        "SELECT (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal) + (SELECT count(*) FROM pg_proc"
        " WHERE pronamespace = 'backout_kept'::regnamespace)"
    ).fetchone()
    assert row is not None
    return int(row[0])


def untouched(direct: psycopg.Connection) -> bool:
    """The world is as it was made, and nothing of ours is left."""
    row = direct.execute(
        "SELECT (SELECT count(first_name) FROM users), (SELECT count(*) FROM visits),"
        " (SELECT count(*) FROM history)"
    ).fetchone()
    return row == (5, 5, 2) and not kept_tables(direct) and not manifest(direct) and not leftovers(direct)
