"""Replication origins of ours: one a session of the migration, made by the proxy, dropped with the guard."""

from __future__ import annotations

from backout.postgres.connect import Session


def ours(session: Session, prefix: str) -> tuple[str, ...]:
    """Names of origins that begin with this; none for an empty prefix."""
    if not prefix:
        return ()
    rows = session.execute(
        "SELECT roname FROM pg_catalog.pg_replication_origin WHERE pg_catalog.starts_with(roname, %s)",
        (f"{prefix}_",),
    ).fetchall()
    return tuple(row[0] for row in rows)


def drop(session: Session, name: str) -> None:
    """Drop one; raises the server's error where the role may not."""
    session.execute("SELECT pg_catalog.pg_replication_origin_drop(%s)", (name,))
