"""The table of harmless functions against the catalog of real servers."""

from __future__ import annotations

import psycopg
import pytest

from backout.sql.functions import REACHES_OUT, READ_ONLY, VOLATILE_BUT_READ, is_read

NAMES = sorted(frozenset[str]().union(*(group.names for group in READ_ONLY)))
SINCE_18 = {"uuidv4", "uuidv7"}


def test_every_listed_function_exists_and_volatile_ones_were_looked_at(connection: psycopg.Connection):
    rows = connection.execute(
        "SELECT proname, bool_or(provolatile = 'v') FROM pg_catalog.pg_proc "
        "WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY(%s) GROUP BY 1",
        [NAMES],
    ).fetchall()
    volatile = {name for name, is_volatile in rows if is_volatile}
    assert set(NAMES) - {name for name, _ in rows} <= SINCE_18
    assert volatile <= VOLATILE_BUT_READ


def test_every_listed_function_is_there_for_one_reason():
    assert sum(len(group.names) for group in READ_ONLY) == len(NAMES)
    assert not REACHES_OUT & set(NAMES)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        (("now",), True),
        (("pg_catalog", "now"), True),
        (("app", "now"), False),
        (("nextval",), False),
        (("ts_stat",), False),
        (("information_schema", "_pg_expandarray"), True),
        (("information_schema", "now"), False),
    ],
)
def test_a_schema_of_the_users_own_makes_a_function_unknown(name, read):
    assert is_read(*name) is read
