"""Run one statement alone, outside a transaction of others, with its own limits; the answer is a record."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg

from backout.postgres.connect import Session

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
    begun = time.monotonic()
    try:
        session.execute("RESET search_path")
        session.execute(
            "SELECT pg_catalog.set_config('lock_timeout', %s, false),"
            " pg_catalog.set_config('statement_timeout', %s, false)",
            (f"{lock_timeout * 1000:.0f}ms", f"{statement_timeout * 1000:.0f}ms"),
        )
        session.execute(statement.encode())
    except psycopg.Error as error:
        message = error.diag.message_primary or str(error).strip().split("\n")[0]
        return Alone(time.monotonic() - begun, error.sqlstate or "08006", message)
    return Alone(time.monotonic() - begun)
