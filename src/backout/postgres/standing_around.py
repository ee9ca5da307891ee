"""What stands around a server and does not come along when it is restored elsewhere."""

from __future__ import annotations

import psycopg

from backout.postgres.connect import Session
from backout.postgres.names import OBJECT_PREFIX


def setting(session: Session, name: str) -> str:
    """The value in force; empty for a setting that this server or role does not know."""
    row = session.execute("SELECT pg_catalog.current_setting(%s, true)", (name,)).fetchone()
    return str(row[0] or "") if row else ""


def preloaded(session: Session) -> tuple[str, ...]:
    """Libraries that the server loads at its start; empty where the role may not see them."""
    try:
        listed = setting(session, "shared_preload_libraries")
    except psycopg.errors.InsufficientPrivilege:
        return ()
    return tuple(part.strip() for part in listed.split(",") if part.strip())


def standbys(session: Session) -> tuple[str, ...]:
    """Names of standbys and other physical receivers that are connected now, our own readers apart."""
    rows = session.execute(
        """SELECT DISTINCT coalesce(nullif(r.application_name, ''), r.pid::text)::text
           FROM pg_catalog.pg_stat_replication r
           LEFT JOIN pg_catalog.pg_replication_slots s ON s.active_pid = r.pid
           WHERE coalesce(s.slot_type, 'physical') = 'physical'
             AND r.application_name !~ '^(backout/|pg_basebackup)' ORDER BY 1"""
    ).fetchall()
    return tuple(row[0] for row in rows)


def foreign_slots(session: Session) -> tuple[str, ...]:
    """Logical slots of others: consumers of changes, which know no restored instance."""
    rows = session.execute(
        """SELECT slot_name::text FROM pg_catalog.pg_replication_slots
           WHERE slot_type = 'logical' AND NOT temporary AND NOT starts_with(slot_name::text, %s)
           ORDER BY 1""",
        (OBJECT_PREFIX,),
    ).fetchall()
    return tuple(row[0] for row in rows)


def subscriptions(session: Session) -> tuple[str, ...]:
    """Subscriptions of this database. Only columns that anybody may read."""
    rows = session.execute(
        """SELECT s.subname::text FROM pg_catalog.pg_subscription s
           JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
           WHERE d.datname = pg_catalog.current_database() ORDER BY 1"""
    ).fetchall()
    return tuple(row[0] for row in rows)


def cron_jobs(session: Session) -> int | None:
    """Jobs of pg_cron; 0 without the extension, None where the role may not read them."""
    there = session.execute("SELECT pg_catalog.to_regclass('cron.job') IS NOT NULL").fetchone()
    if there != (True,):
        return 0
    try:
        row = session.execute("SELECT count(*) FROM cron.job").fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return None
    return int(row[0]) if row else None


def extensions_without_files(session: Session) -> tuple[str, ...]:
    """Installed extensions whose files this server does not have: their functions would fail there."""
    rows = session.execute(
        """SELECT e.extname::text FROM pg_catalog.pg_extension e
           WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_available_extensions a WHERE a.name = e.extname)
           ORDER BY 1"""
    ).fetchall()
    return tuple(row[0] for row in rows)
