"""Which tables a run on a clone has touched, found without reading their contents."""

from __future__ import annotations

import time
from dataclasses import dataclass

from backout.postgres.connect import Session

_PATIENCE = 5.0
_PAUSE = 0.05
_COLLECTOR_DELAY = 0.7
"""Before 15 counters travelled to a collector process, which wrote them out twice a second."""


@dataclass(frozen=True, slots=True)
class Store:
    """How one table lies in its database."""

    filenode: int
    """Changes when the table is truncated or rewritten."""
    bytes: int
    writes: int
    """Rows inserted, updated and deleted since the database was made."""


def stores(session: Session) -> dict[int, Store]:
    """Every ordinary table by oid."""
    rows = session.execute(
        """SELECT c.oid::bigint, pg_catalog.pg_relation_filenode(c.oid)::bigint,
                  pg_catalog.pg_relation_size(c.oid),
                  coalesce(pg_catalog.pg_stat_get_tuples_inserted(c.oid)
                           + pg_catalog.pg_stat_get_tuples_updated(c.oid)
                           + pg_catalog.pg_stat_get_tuples_deleted(c.oid), 0)
           FROM pg_catalog.pg_class c WHERE c.relkind = 'r'"""
    ).fetchall()
    return {oid: Store(filenode, size, writes) for oid, filenode, size, writes in rows}


def counters_are_complete(session: Session) -> bool:
    """Wait until nobody else is in this database: a session hands its counters in when it ends.

    False when somebody stays, or when counters are off; then every table has to be read.
    """
    row = session.execute("SELECT pg_catalog.current_setting('track_counts')::bool").fetchone()
    if row is None or not row[0]:
        return False
    deadline = time.monotonic() + _PATIENCE
    while _others(session):
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    if session.info.server_version < 150000:
        time.sleep(_COLLECTOR_DELAY)
    return True


def _others(session: Session) -> int:
    row = session.execute(
        """SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity
           WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()
             AND backend_type = 'client backend'"""
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]
