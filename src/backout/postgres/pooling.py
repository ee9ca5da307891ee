"""Does a pooler between us and the server share our backend with others: found by behaviour.

A pooler in transaction mode voids session locks (two clients both got the same advisory lock in a trial),
and a setting of ours would stay on a backend that the application gets next. So this look comes before
anything is pinned, and sets nothing but a parameter of our own. No product is asked for its name: a pooler
in session mode passes, whoever made it.
"""

from __future__ import annotations

import secrets

import psycopg

from backout.errors import ConfigurationError
from backout.postgres.connect import explain_refusal, place

_ROUNDS = 3
_SETTING = "backout.look"

Raw = psycopg.Connection[tuple[object, ...]]


def find_pooler(dsn: str) -> str:
    """What shows that sessions are shared, in words; empty when each connection has a backend of its own.

    Raises as `open_session` does when the login fails, without the connection string.
    """
    with _connect(dsn) as first:
        token = secrets.token_hex(8)
        first.execute("SELECT pg_catalog.set_config(%s, %s, false)", (_SETTING, token), prepare=False)
        mine = _backend(first)
        for _ in range(_ROUNDS):
            with _connect(dsn) as second:
                found = _compare(first, second, mine, token)
            if found:
                return found
        with _connect(dsn) as second:
            found = _compare_locks(first, second)
        first.execute(f"RESET {_SETTING}")  # a constant of ours
    return found


def refuse_pooler(dsn: str, name: str) -> None:
    """Raises `ConfigurationError` when `find_pooler` finds one; `name` says where the DSN was read from."""
    if find_pooler(dsn):
        raise through_pooler(dsn, name)


def through_pooler(dsn: str, name: str) -> ConfigurationError:
    """The error that a shared backend is."""
    return ConfigurationError(
        "this DSN leads through a pooler in transaction mode",
        where=f"{place(dsn)}, locks would be void there",
        intact="everything; backout only asked which backend answers",
        next=f"point {name} at the server itself, or at a pooler in session mode, then: backout doctor",
    )


def _connect(dsn: str) -> Raw:
    try:
        return psycopg.connect(dsn, application_name="backout/look/0", connect_timeout=10, autocommit=True)
    except psycopg.OperationalError as error:
        raise explain_refusal(error, dsn) from None


def _backend(session: Raw) -> int:
    row = session.execute("SELECT pg_catalog.pg_backend_pid()", prepare=False).fetchone()
    assert row is not None
    return int(str(row[0]))


def _setting(session: Raw) -> str:
    query = "SELECT pg_catalog.current_setting(%s, true)"
    row = session.execute(query, (_SETTING,), prepare=False).fetchone()
    return "" if row is None or row[0] is None else str(row[0])


def _compare(first: Raw, second: Raw, mine: int, token: str) -> str:
    """While the second connection holds a transaction open, does the first keep its backend to itself?"""
    try:
        with second.transaction():
            if _backend(second) == mine:
                return "two connections were served by the same backend"
            if _setting(second) == token:
                return "a setting of one connection was seen by another"
            if _backend(first) != mine:
                return "the backend of a connection changed between two statements"
    except psycopg.Error as error:
        return f"a transaction over two statements was refused ({error.sqlstate or 'no SQLSTATE'})"
    return "" if _setting(first) == token else "a setting of a session was lost between two statements"


def _compare_locks(first: Raw, second: Raw) -> str:
    """Does a session's advisory lock keep another session out, and does it last?"""
    key = secrets.randbits(62)
    first.execute("SELECT pg_catalog.pg_advisory_lock(%s)", (key,), prepare=False)
    row = second.execute("SELECT pg_catalog.pg_try_advisory_xact_lock(%s)", (key,), prepare=False).fetchone()
    freed = first.execute("SELECT pg_catalog.pg_advisory_unlock(%s)", (key,), prepare=False).fetchone()
    if row == (True,):
        return "two connections got the same advisory lock"
    return "" if freed == (True,) else "an advisory lock of a session was lost"
