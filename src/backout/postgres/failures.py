"""What servers and their connections raise, for rooms that do not know the driver."""

from __future__ import annotations

import psycopg

from backout.errors import BackoutError
from backout.postgres.dead_man import Refusal

OF_SERVERS: tuple[type[Exception], ...] = (psycopg.Error, OSError, Refusal)
EXPECTED: tuple[type[Exception], ...] = (BackoutError, *OF_SERVERS)
"""Everything that a step in the middle of an effect has to go back for."""


def in_words(error: Exception) -> str:
    """The reason on one line: our own words, or the server's."""
    if isinstance(error, BackoutError):
        return error.what
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    told = primary or str(error).strip() or type(error).__name__
    return told.splitlines()[0]
