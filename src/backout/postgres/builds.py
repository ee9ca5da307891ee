"""Index builds under way: a killed client does not stop its server session, which builds on alone."""

from __future__ import annotations

from dataclasses import dataclass

from backout.postgres.connect import Session

_CHANGES = r"^\s*(create|drop|reindex|alter)\M"


@dataclass(frozen=True, slots=True)
class Build:
    """A session that is changing indexes or schema right now."""

    pid: int
    who: str
    """Role and application name."""
    ours: bool
    """It carries the name of a session of backout."""
    seconds: float
    query: str
    """Its first 2,000 characters; DDL holds no values of rows."""
    phase: str
    """Of an index build, as pg_stat_progress_create_index says it; else empty."""


def builds(session: Session, words: tuple[str, ...] = ()) -> tuple[Build, ...]:
    """Sessions in the midst of DDL on this database whose statement names one of `words` (no words: all).

    Other roles' statements are hidden from a role without pg_read_all_stats: those are not found.
    """
    rows = session.execute(
        """SELECT a.pid, coalesce(a.usename, '?')::text, coalesce(a.application_name, '')::text,
                  extract(epoch FROM pg_catalog.clock_timestamp() - a.query_start)::float8,
                  pg_catalog.left(a.query, 2000), coalesce(p.phase, '')
           FROM pg_catalog.pg_stat_activity a
           LEFT JOIN pg_catalog.pg_stat_progress_create_index p ON p.pid = a.pid
           WHERE a.state = 'active' AND a.datname = pg_catalog.current_database()
             AND a.pid <> pg_catalog.pg_backend_pid() AND a.query ~* %s
           ORDER BY a.query_start""",
        (_CHANGES,),
    ).fetchall()
    found = [
        Build(
            pid,
            f"{user} ({name})" if name else user,
            name.startswith("backout/"),
            round(age, 1),
            " ".join(query.split()),
            phase,
        )
        for pid, user, name, age, query, phase in rows
    ]
    return tuple(b for b in found if not words or any(word in b.query for word in words))


def holders(session: Session, table: str) -> tuple[str, ...]:
    """Whom CONCURRENTLY waits for: sessions with a lock on the table, or an old snapshot: `pid 88 (etl)`."""
    rows = session.execute(
        """SELECT DISTINCT a.pid, coalesce(nullif(a.application_name, ''), a.usename, '?')::text
           FROM pg_catalog.pg_stat_activity a
           LEFT JOIN pg_catalog.pg_locks l ON l.pid = a.pid AND l.granted
                AND l.relation = pg_catalog.to_regclass(%s)
           WHERE a.pid <> pg_catalog.pg_backend_pid() AND a.datname = pg_catalog.current_database()
             AND (l.pid IS NOT NULL OR a.backend_xmin IS NOT NULL AND a.state <> 'active')
           ORDER BY a.pid LIMIT 5""",
        (table,),
    ).fetchall()
    return tuple(f"pid {pid} ({name})" for pid, name in rows)
