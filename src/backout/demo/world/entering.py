"""A client of the demo enters its database: at once, or as clients with a list of hosts do, in a moment."""

from __future__ import annotations

import time

import psycopg
from psycopg.conninfo import conninfo_to_dict

_PATIENCE_SECONDS = 1.0
_AGAIN_SECONDS = 0.02


def enter(url: str, name: str) -> psycopg.Connection:
    """A session in autocommit mode. A client that lists several hosts looks for the one that takes writes
    for a second before it calls that an error; another one does not wait. Raises `psycopg.Error`.

    Nothing is prepared: the server behind a pooler changes with every transaction.
    """
    patience = _PATIENCE_SECONDS if "," in str(conninfo_to_dict(url).get("host", "")) else 0.0
    until = time.monotonic() + patience
    while True:
        try:
            return psycopg.connect(
                url, autocommit=True, application_name=name, connect_timeout=5, prepare_threshold=None
            )
        except psycopg.OperationalError:
            if time.monotonic() >= until:
                raise
        time.sleep(_AGAIN_SECONDS)
