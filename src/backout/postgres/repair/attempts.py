"""One attempt to write rows: its transaction, and the server's refusals sorted by what follows from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg

from backout.postgres.connect import Session


class Busy(Exception):
    """Locked by somebody else: the whole batch is tried again later."""


class RowRefused(Exception):
    """The server refuses what a row holds: a constraint, a value, a trigger. Trying again does not help."""

    def __init__(self, error: psycopg.Error) -> None:
        message = error.diag.message_primary or str(error).strip()
        super().__init__(f"{error.sqlstate}: {message}")


_BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
_REFUSED = (psycopg.IntegrityError, psycopg.DataError, psycopg.errors.RaiseException)


@contextmanager
def transaction(session: Session, settings: Mapping[str, str]) -> Iterator[None]:
    """A transaction of one batch with settings of its own. Raises `Busy`."""
    try:
        with session.transaction():
            for name, value in settings.items():
                session.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))
            yield
    except _BUSY as error:
        raise Busy(str(error).strip()) from error


@contextmanager
def savepoint(session: Session) -> Iterator[None]:
    """Part of a batch that can fail by itself. Raises `RowRefused`; what was done before it stands."""
    try:
        with session.transaction():
            yield
    except _BUSY:
        raise
    except _REFUSED as error:
        raise RowRefused(error) from error


def with_search_path_of_role(session: Session) -> None:
    """Triggers of the application run inside our writes and may name tables bare: give the session the search
    path that the role logs in with, behind pg_catalog, so that no function of ours can be taken over."""
    session.execute(
        """SELECT pg_catalog.set_config('search_path', 'pg_catalog, ' || reset_val, false)
           FROM pg_catalog.pg_settings WHERE name = 'search_path'"""
    )
