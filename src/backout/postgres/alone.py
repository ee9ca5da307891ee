"""Run one statement alone, outside a transaction of others, with its own limits; the answer is a record."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg

from backout.ports.migrator import Endpoint
from backout.postgres.connect import Session, open_session, to_endpoint

LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True, slots=True)
class Alone:
    """How one statement ended. `sqlstate` is empty when it succeeded; the message holds no values of rows
    (PostgreSQL puts those into the detail, which is left out)."""

    seconds: float
    sqlstate: str = ""
    error: str = ""

    @property
    def done(self) -> bool:
        return not self.sqlstate


def run_alone(session: Session, statement: str, *, lock_timeout: float, statement_timeout: float) -> Alone:
    """Send one statement on an autocommit session that reads names as its role does; never raises for what
    the server answers. Limits in seconds, 0 = none.

    The role's own search path is used, because the statements of a migration rely on it.
    """
    return _answered(session, (*_limits(lock_timeout, statement_timeout), statement))


def run_through(
    endpoint: Endpoint,
    application_name: str,
    statement: str,
    *,
    lock_timeout: float,
    statement_timeout: float,
) -> Alone:
    """The same in a transaction of its own through a proxy, which keeps what the statement destroys."""
    with open_session(to_endpoint(endpoint), application_name) as session:
        limits = _limits(lock_timeout, statement_timeout)
        return _answered(session, (*limits, "BEGIN", statement, "COMMIT"))


def _limits(lock_timeout: float, statement_timeout: float) -> tuple[str, ...]:
    return (
        "RESET search_path",
        f"SET lock_timeout = {lock_timeout * 1000:.0f}",
        f"SET statement_timeout = {statement_timeout * 1000:.0f}",
    )


def _answered(session: Session, statements: tuple[str, ...]) -> Alone:
    begun = time.monotonic()
    answer = ""
    try:
        for statement in statements:
            answer = session.execute(statement.encode()).statusmessage or ""
    except psycopg.Error as error:
        message = error.diag.message_primary or str(error).strip().split("\n")[0]
        return Alone(time.monotonic() - begun, error.sqlstate or "08006", message)
    if statements[-1] == "COMMIT" and answer != "COMMIT":
        return Alone(time.monotonic() - begun, "40000", "COMMIT was answered with ROLLBACK")
    return Alone(time.monotonic() - begun)
