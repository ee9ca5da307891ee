"""A standby whose replay stands still before a migration: its use, and what must not be done to it.

It is no restore point for `pg_promote`, which replays everything that was received: 1000 rows before a bad
DELETE became 10. A base backup taken from it while it stands still is one, and the standby stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from backout.errors import Refused
from backout.model.recovery import Lsn, RecoveryTarget, position
from backout.postgres.connect import Session


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a standby stands. `paused` = its replay does not go on by itself."""

    in_recovery: bool
    paused: bool
    replayed_to: Lsn
    received_to: Lsn


def read_standing(session: Session) -> Standing:
    """Where the server of this session stands; a primary stands at its own write position."""
    row = session.execute(
        """SELECT pg_catalog.pg_is_in_recovery(),
                  CASE WHEN pg_catalog.pg_is_in_recovery()
                       THEN pg_catalog.pg_get_wal_replay_pause_state() = 'paused' ELSE false END,
                  coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0')::text,
                  coalesce(pg_catalog.pg_last_wal_receive_lsn(), '0/0')::text"""
    ).fetchone()
    assert row is not None
    return Standing(row[0], row[1], Lsn.parse(row[2]), Lsn.parse(row[3]))


def require_before(standing: Standing, target: RecoveryTarget) -> None:
    """Raise `Refused` unless a backup taken from this standby now would lie before the target."""
    reason = _unfit(standing, position(target))
    if reason:
        raise Refused(
            f"the standby is of no use for {target}: {reason}",
            where="the standby",
            intact="the standby and its source",
            next="use an older base backup; for the next time set recovery_min_apply_delay on a standby",
        )


def _unfit(standing: Standing, at: Lsn) -> str:
    if not standing.in_recovery:
        return "it is no standby any more, it was promoted"
    if standing.replayed_to > at:
        return f"it has replayed to {standing.replayed_to}, the target lies at {at}: it has the migration too"
    if not standing.paused:
        return f"its replay goes on (now at {standing.replayed_to}): SELECT pg_wal_replay_pause() first"
    return ""
