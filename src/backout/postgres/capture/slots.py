"""The logical slot: made before the migration, watched, dropped; who holds its making up is named."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from backout.errors import Stopped
from backout.postgres.capture.patience import Patience, patiently
from backout.postgres.connect import Session

# Nobody queues behind this wait: it is for the ends of transactions, not for a table.
_LOCK_TIMEOUT = 3.0
_DROP_SECONDS = 10.0
_FAILOVER_SINCE = 170000


@dataclass(frozen=True, slots=True)
class SlotState:
    """One slot as the server shows it now."""

    wal_status: str
    """`reserved`, `extended`, `unreserved` or `lost`."""
    invalidation: str
    """Why it is of no use any more (17+); empty = it is."""
    retained_bytes: int
    lag_bytes: int
    safe_bytes: int | None
    """WAL that may still be written before the server itself takes the slot away; None = no limit."""
    active_pid: int | None
    failover: bool
    confirmed_lsn: str


def has_failover(session: Session) -> bool:
    """Whether this version can keep a logical slot over a failover."""
    return session.info.server_version >= _FAILOVER_SINCE


def create(session: Session, name: str, *, failover: bool, patience: Patience) -> str:
    """Make the slot, unless it is there; the position from which on it holds every commit.

    It comes to be when every transaction has ended that had begun to write before: `LockNotGranted` names
    those that did not.
    """
    if look(session, name) is None:
        arguments = [sql.Literal(name), sql.SQL("'pgoutput'"), sql.SQL("false"), sql.SQL("false")]
        arguments += [sql.SQL("true")] if failover else []
        call = sql.SQL("SELECT pg_catalog.pg_create_logical_replication_slot({})")
        statement = call.format(sql.SQL(", ").join(arguments))
        patiently(session, statement, patience, lambda: writers(session), lock_timeout=_LOCK_TIMEOUT)
    made = look(session, name)
    assert made is not None, "the server has just made it"
    return made.confirmed_lsn


def writers(session: Session) -> tuple[str, ...]:
    """Transactions of the whole server that wrote and have not ended, oldest first: a slot waits for them."""
    rows = session.execute(
        """SELECT 'pid ' || a.pid || ' (' || coalesce(nullif(a.application_name, ''), a.usename, '?') || ', '
                  || coalesce(a.state, '?') || ' in ' || coalesce(a.datname, '?') || ' for '
                  || extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::int || ' s)',
                  a.xact_start
           FROM pg_catalog.pg_stat_activity a
           WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
           UNION ALL
           SELECT 'prepared transaction ' || p.gid, p.prepared FROM pg_catalog.pg_prepared_xacts p
           ORDER BY 2 LIMIT 5"""
    ).fetchall()
    return tuple(row[0] for row in rows)


def look(session: Session, name: str) -> SlotState | None:
    """The slot now; None when it is not there. Asked so that every version answers."""
    row = session.execute(
        """SELECT pg_catalog.to_jsonb(s),
                  coalesce(pg_catalog.pg_wal_lsn_diff(here.lsn, s.restart_lsn), 0)::bigint,
                  coalesce(pg_catalog.pg_wal_lsn_diff(here.lsn, s.confirmed_flush_lsn), 0)::bigint
           FROM pg_catalog.pg_replication_slots s,
                (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                        ELSE pg_catalog.pg_current_wal_lsn() END AS lsn) here
           WHERE s.slot_name = %s""",
        (name,),
    ).fetchone()
    return _state(row[0], max(0, row[1]), max(0, row[2])) if row else None


def _state(slot: Mapping[str, Any], retained: int, lag: int) -> SlotState:
    invalid = str(slot.get("invalidation_reason") or ("rows_removed" if slot.get("conflicting") else ""))
    safe = slot.get("safe_wal_size")
    return SlotState(
        *(str(slot.get("wal_status") or "unknown"), invalid, retained, lag),
        *(None if safe is None else int(safe), slot.get("active_pid"), bool(slot.get("failover"))),
        str(slot.get("confirmed_flush_lsn") or ""),
    )


def drop(session: Session, name: str) -> bool:
    """Drop the slot and look; True when it was there. Raises `Stopped` while somebody reads from it."""
    until = time.monotonic() + _DROP_SECONDS
    while (there := look(session, name)) is not None:
        try:
            session.execute("SELECT pg_catalog.pg_drop_replication_slot(%s)", (name,))
            return True
        except psycopg.errors.UndefinedObject:
            return True
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > until:
                raise Stopped(
                    f"slot {name} is read by pid {there.active_pid} and cannot be dropped",
                    where=session.info.dbname,
                    intact="the slot and what it holds back",
                    next="end that session, then: backout guard drop",
                ) from None
            time.sleep(0.2)
    return False


def standbys(session: Session) -> int:
    """Physical standbys that are connected now, as far as the role may see."""
    row = session.execute(
        """SELECT count(*) FROM pg_catalog.pg_stat_replication r
           JOIN pg_catalog.pg_replication_slots s ON s.active_pid = r.pid AND s.slot_type = 'physical'"""
    ).fetchone()
    return int(row[0]) if row else 0
