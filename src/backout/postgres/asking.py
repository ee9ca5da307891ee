"""Ask a server one thing on behalf of a person's own SQL; a refusal is an answer, not an exception."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import psycopg

from backout.postgres.connect import Session

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """First column of the first row as text; None = NULL or no row. `error` is the server's refusal."""

    value: str | None
    rows: int = 0
    error: str = ""


def ask(session: Session, text: str, values: Sequence[object] | Mapping[str, object] | None = None) -> Answer:
    """Run one statement of the user and give its first value."""
    try:
        cursor = session.execute(text.encode(), values)
        if cursor.description is None:
            return Answer(None, cursor.rowcount)
        row = cursor.fetchone()
    except psycopg.Error as error:
        return Answer(None, error=refusal(error))
    return Answer(None if row is None or row[0] is None else str(row[0]), cursor.rowcount)


def attempt(work: Callable[[], T]) -> tuple[T | None, str]:
    """The answer of `work`, else None and the server's refusal in one line."""
    try:
        return work(), ""
    except psycopg.Error as error:
        return None, refusal(error)


def as_application(session: Session, timeout_seconds: float) -> None:
    """Resolve names as the application's role does, within a time limit."""
    session.execute("RESET search_path")
    session.execute(
        "SELECT pg_catalog.set_config('statement_timeout', %s, false)", (str(int(timeout_seconds * 1000)),)
    )


def refusal(error: psycopg.Error) -> str:
    """A server's refusal in one line, without the parameters of the statement."""
    return f"{error.diag.message_primary or type(error).__name__} ({error.sqlstate or 'no SQLSTATE'})"
