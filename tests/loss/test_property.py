"""Whatever the table, the data and the down: the measured loss is the one an oracle counts by hand."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from backout.model.loss import LossKind
from backout.postgres.catalog import read_schema
from backout.postgres.connect import Session
from backout.postgres.losses import measure
from backout.testing.servers import RealServer
from tests.loss.databases import pair, run

TYPES = {
    "int": st.integers(-3, 3).map(str),
    "text": st.sampled_from(["''", "'a'", "'b'", "'Ä'", "'a '"]),
    "boolean": st.sampled_from(["true", "false"]),
    "numeric": st.sampled_from(["1", "1.0", "1.00", "-2.5"]),
    "jsonb": st.sampled_from(["'{}'", "'[1]'", "'{\"a\": 1}'"]),
    "public.mood": st.sampled_from(["'sad'", "'ok'"]),
    "int[]": st.sampled_from(["'{}'", "'{1,2}'", "'{NULL}'"]),
}
KEYS = ["PRIMARY KEY (id)", "PRIMARY KEY (id, word)", "UNIQUE (word)", ""]


@dataclass(frozen=True)
class World:
    """A table `public.t (id, word, c0, c1, …)`, its rows, and a down."""

    key: str
    types: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    down: tuple[str, ...]

    @property
    def setup(self) -> str:
        columns = "".join(f", c{i} {kind}" for i, kind in enumerate(self.types))
        parts = ["CREATE TYPE public.mood AS ENUM ('sad', 'ok')"]
        key = f", {self.key}" if self.key else ""
        parts.append(f"CREATE TABLE public.t (id int NOT NULL, word text NOT NULL{columns}{key})")
        for number, row in enumerate(self.rows):
            cells = "".join(f", {cell}" for cell in row)
            parts.append(f"INSERT INTO public.t VALUES ({number - 2}, 'w{number}'{cells})")
        return ";".join(parts)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    types = tuple(draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=4)))
    row = st.tuples(*(st.one_of(st.just("NULL"), TYPES[kind]) for kind in types))
    rows = tuple(draw(st.lists(row, min_size=2, max_size=12)))
    down = tuple(draw(st.lists(_statement(types), min_size=1, max_size=4)))
    return World(draw(st.sampled_from(KEYS)), types, rows, down)


def _statement(types: tuple[str, ...]) -> st.SearchStrategy[str]:
    column = st.integers(0, len(types) - 1)
    where = st.one_of(
        st.integers(-3, 9).map(lambda n: f"id > {n}"), st.just("id % 2 = 0"), st.just("id % 3 > 0")
    )

    def update(number: int) -> st.SearchStrategy[str]:
        value = st.one_of(st.just("NULL"), st.just(f"c{number}"), TYPES[types[number]])
        return st.builds(lambda v, w: f"UPDATE public.t SET c{number} = {v} WHERE {w}", value, where)

    alter = st.one_of(
        column.map(lambda n: f"ALTER TABLE public.t DROP c{n}"),
        column.map(lambda n: f"ALTER TABLE public.t RENAME c{n} TO renamed{n}"),
        column.map(lambda n: f"ALTER TABLE public.t ALTER c{n} TYPE text"),
        column.map(lambda n: f"ALTER TABLE public.t ALTER c{n} TYPE bigint USING 7"),
        st.just("ALTER TABLE public.t ADD made int DEFAULT 1"),
        st.just("ALTER TABLE public.t DROP CONSTRAINT IF EXISTS t_pkey"),
        st.just("CLUSTER public.t USING t_pkey"),
    )
    all_of_it = st.sampled_from(
        ["TRUNCATE public.t", "DROP TABLE public.t", "ALTER TABLE public.t RENAME TO u"]
    )
    delete = where.map(lambda w: f"DELETE FROM public.t WHERE {w}")
    change = column.flatmap(update)
    # Weighted: what destroys everything hides what the other statements did.
    weights = [change] * 5 + [alter] * 3 + [delete] * 2 + [all_of_it]
    return st.integers(0, len(weights) - 1).flatmap(lambda i: weights[i])


def _tolerant(statements: tuple[str, ...]) -> str:
    """Each statement alone; one that fails (it names what an earlier one dropped) does nothing."""
    blocks = (
        sql.SQL("BEGIN EXECUTE {}; EXCEPTION WHEN OTHERS THEN NULL; END;").format(sql.Literal(s)).as_string()
        for s in statements
    )
    return f"DO $do$ BEGIN {' '.join(blocks)} END $do$"


Told = dict[tuple[str, LossKind], int]


def oracle(before: Session, after: Session) -> Told:
    """Naive: both tables read whole into Python and compared as text, row by row."""
    (old,) = (t for t in read_schema(before).tables if t.name == "t")
    new = next((t for t in read_schema(after).tables if t.oid == old.oid), None)
    rows = _rows(before, old.qualified, [c.name for c in old.columns])
    if new is None:
        return {("", LossKind.TABLE_GONE): sum(v is not None for row in rows for v in row)}
    names = {c.attnum: c.name for c in new.columns}
    living = [c for c in old.columns if c.attnum in names]
    told: Told = {}
    for position, column in enumerate(old.columns):
        if column.attnum not in names:
            told[column.name, LossKind.COLUMN_GONE] = sum(row[position] is not None for row in rows)
    at = [old.columns.index(c) for c in living]
    kept = [[row[i] for i in at] for row in rows]
    now = [list(row) for row in _rows(after, new.qualified, [names[c.attnum] for c in living])]
    unique = old.indexes != ()
    for row in kept:
        same = next((other for other in now if (other[:2] == row[:2] if unique else other == row)), None)
        if same is None:
            _add(told, "", LossKind.ROWS_GONE, sum(v is not None for v in row))
            continue
        now.remove(same)
        for column, was, is_now in zip(living, row, same, strict=True):
            if was != is_now:
                _add(told, column.name, LossKind.VALUES_CHANGED, 1)
    return told


def _add(told: Told, column: str, kind: LossKind, count: int) -> None:
    told[column, kind] = told.get((column, kind), 0) + count


def _rows(session: Session, table: str, columns: list[str]) -> list[tuple[str | None, ...]]:
    cells = ", ".join(f'"{name}"::text' for name in columns)
    return session.execute(f"SELECT {cells} FROM {table}").fetchall()


EXAMPLES = int(os.environ.get("BACKOUT_SOAK_EXAMPLES", "15"))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="BACKOUT_SOAK_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(world=worlds())
@pytest.mark.proves(
    claim="The loss report counts what an oracle counts",
    on="generated tables, data and downs; one machine, loopback",
    rights="superuser",
    versions="16",
    size="generated",
)
def test_the_measured_loss_is_what_an_oracle_counts(pg16: RealServer, world: World):
    with pg16.database() as original:
        run(pg16, original, world.setup)
        with pair(pg16, original, _tolerant(world.down)) as (before, after):
            expected = oracle(before, after)
            measured = measure(before, after)
    found = {(x.column, x.kind): x.values.count for x in measured.losses}
    assert found == expected, (world.setup, world.down)
