"""Replay WAL to a typed target and prove that it was reached, before anything can be written."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NoReturn

import psycopg

from backout.errors import BackoutError, NeighbourUnreachable, Refused, Stopped
from backout.model.recovery import (
    BackupEnd,
    ForReplay,
    Lsn,
    NamedPoint,
    RecoveryTarget,
    TwinAfter,
    TwinBefore,
    UpTo,
    position,
)
from backout.ports.backups import Reached
from backout.postgres import servers
from backout.postgres.connect import Session, open_session

_APPLICATION = "backout/recovery/0"
_POLL_SECONDS = 0.1
_COME_UP_SECONDS = 30.0
"""A server that was launched has neither a process nor a log for a moment."""
PATIENCE_SECONDS = 4 * 3600.0


class Ending(Enum):
    """What happens once the target is reached and proved."""

    PAUSE = "pause"
    """It stays a readable standby that stands still."""
    PROMOTE = "promote"
    """It is opened for writing."""
    SHUTDOWN = "shutdown"
    """It is stopped, so that it can be cloned or go on to a later target."""


def target_settings(target: RecoveryTarget) -> Mapping[str, str]:
    """The recovery target as settings, always explicit, on a named timeline, then a standstill."""
    match target:
        case ForReplay(at=NamedPoint(name=name)):
            chosen = {"recovery_target_name": name}
        case ForReplay() | UpTo():
            chosen = {"recovery_target_lsn": str(position(target)), "recovery_target_inclusive": "off"}
        case BackupEnd():
            chosen = {"recovery_target": "immediate"}
        case TwinBefore(commit=commit):
            chosen = {"recovery_target_xid": str(commit.xid), "recovery_target_inclusive": "off"}
        case TwinAfter(commit=commit):
            chosen = {"recovery_target_xid": str(commit.xid), "recovery_target_inclusive": "on"}
    return {
        **chosen,
        "recovery_target_timeline": str(target.line.timeline),
        # Never `promote`: what was reached is looked at first. Going on from this pause promotes and replays
        # nothing more, unlike promoting a standby whose replay was paused by hand.
        "recovery_target_action": "pause",
    }


def restore_command(wal: Path) -> str:
    """Fetch segments from a directory that was filled before the start."""
    return f'cp {shlex.quote(str(wal)).replace("%", "%%")}/%f "%p"'


def aim(data: Path, target: RecoveryTarget, wal: Path) -> None:
    """Make the next start of this (stopped, isolated) data directory recover to the target."""
    settings = {"restore_command": restore_command(wal), **target_settings(target)}
    (data / "postgresql.auto.conf").write_text(servers.as_configuration(settings))
    signal = data / "recovery.signal"
    signal.touch()
    servers.give(signal)


@dataclass(frozen=True, slots=True)
class Stop:
    """The line of the log that says where recovery stopped."""

    line: str
    kind: str
    """`name`, `xid`, `lsn` or `consistency`."""
    side: str
    """`before`, `after`, `at`."""
    value: str


_STOPS = (
    ("name", re.compile(r'recovery stopping (at) restore point "(.*?)"')),
    ("xid", re.compile(r"recovery stopping (before|after) commit of transaction (\d+)")),
    ("lsn", re.compile(r'recovery stopping (before|after) WAL location \(LSN\) "([0-9A-F/]+)"')),
    ("consistency", re.compile(r"recovery stopping (after) (reaching consistency)")),
    ("other", re.compile(r"recovery stopping (before|after|at) (.*)")),
)
# Answers to our own questions, which come too early at first.
_NOT_YET = ("the database system is", "not yet accepting connections")


def find_stop(log: str) -> Stop | None:
    """Where recovery stopped, from the log of this start; None when it did not yet."""
    for line in log.splitlines():
        for kind, pattern in _STOPS:
            if found := pattern.search(line):
                return Stop(line.strip(), kind, found[1], found[2])
    return None


def fits(stop: Stop, target: RecoveryTarget) -> bool:
    """Whether the server stopped for the reason it was told, at exactly this place."""
    match target:
        case ForReplay(at=NamedPoint(name=name)):
            return (stop.kind, stop.value) == ("name", name)
        case ForReplay():
            return (stop.kind, stop.side) == ("lsn", "before") and Lsn.parse(stop.value) == position(target)
        case UpTo(lsn=lsn):  # a person's position need not be where a record begins
            return (stop.kind, stop.side) == ("lsn", "before") and Lsn.parse(stop.value) >= lsn
        case BackupEnd():
            return stop.kind == "consistency"
        case TwinBefore(commit=commit):
            return (stop.kind, stop.side, stop.value) == ("xid", "before", str(commit.xid % 2**32))
        case TwinAfter(commit=commit):
            return (stop.kind, stop.side, stop.value) == ("xid", "after", str(commit.xid % 2**32))


def replayed_as_told(replayed_to: Lsn, target: RecoveryTarget) -> bool:
    """Whether the end of the last replayed record lies on the right side of the target.

    A name is not enough: two restore points may have one name, and recovery stops at the first.
    """
    match target:
        case ForReplay(at=NamedPoint(lsn=lsn)):
            return replayed_to == lsn
        case TwinAfter(commit=commit):
            return replayed_to > commit.lsn
        case BackupEnd(lsn=lsn):
            return replayed_to >= lsn
        case UpTo():  # the record that holds the position ends behind it; the log names the next one
            return True
        case _:
            return replayed_to <= position(target)


def find_fatal(log: str) -> str:
    """Why the server went away: its last FATAL or PANIC, or its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    told = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    told = [line for line in told if not any(word in line for word in _NOT_YET)]
    line = (told or lines or ["it said nothing"])[-1]
    return re.sub(r"^.*?(FATAL|PANIC|LOG|ERROR):\s*", "", line)


def recover(
    layout: servers.Layout,
    target: RecoveryTarget,
    ending: Ending,
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    watch: Callable[[], None] = lambda: None,
) -> Reached:
    """Start an aimed data directory, wait until it stands at the target, prove it, end as told.

    The exit code of pg_ctl is no evidence: it was 0 before a FATAL three times. Raises `Refused` with the
    server's own reason when the target is not reached; the server is stopped then.
    """
    servers.log_of(layout).unlink(missing_ok=True)
    servers.launch(layout)
    try:
        stop = _wait_for_stop(layout, target, time.monotonic() + patience_seconds, watch)
        with _session(layout, time.monotonic() + 120) as session:
            reached = _look(layout, session, target, stop)
            if ending is Ending.PROMOTE:
                reached = _open(session, target, reached)
    except BaseException:
        servers.stop(layout)
        raise
    if ending is Ending.SHUTDOWN:
        servers.stop(layout, mode="fast")
    return reached


def _wait_for_stop(
    layout: servers.Layout, target: RecoveryTarget, deadline: float, watch: Callable[[], None]
) -> Stop:
    comes_up_until = time.monotonic() + _COME_UP_SECONDS
    while True:
        gone = not servers.is_running(layout)  # looked at before the log: its last words are then in it
        log = _log(layout)
        if (stop := find_stop(log)) is not None:
            if not fits(stop, target):
                _not_reached(layout, target, f"the server stopped elsewhere: {stop.line}")
            return stop
        if gone and (log or time.monotonic() > comes_up_until) and not servers.is_running(layout):
            _not_reached(layout, target, find_fatal(log))
        if "insufficient parameter settings" in log:
            _not_reached(layout, target, "the source raised a limit later than the backup (see the log)")
        watch()
        if time.monotonic() > deadline:
            raise Stopped(
                f"recovery had not reached {target} in time",
                where=str(layout.data),
                intact="the source and the backup",
                next="backout resume",
            )
        time.sleep(_POLL_SECONDS)


def _not_reached(layout: servers.Layout, target: RecoveryTarget, reason: str) -> NoReturn:
    raise Refused(
        f"the restore did not reach {target}: {reason}",
        where=str(layout.data),
        intact="the source and the backup; this copy is not used",
        next="another backup or target, then: backout propose",
    )


def _log(layout: servers.Layout) -> str:
    try:
        return servers.log_of(layout).read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _session(layout: servers.Layout, deadline: float) -> Session:
    """Connect as soon as the standby is consistent and lets anybody in."""
    while True:
        try:
            return open_session(layout.conninfo("template1"), _APPLICATION)
        except NeighbourUnreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)


def _look(layout: servers.Layout, session: Session, target: RecoveryTarget, stop: Stop) -> Reached:
    """The server's own answers while it stands at the target."""
    deadline = time.monotonic() + 30
    while True:
        row = session.execute(
            """SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_is_wal_replay_paused(),
                      pg_catalog.pg_last_wal_replay_lsn()::text,
                      (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())"""
        ).fetchone()
        assert row is not None
        if row[0] and row[1]:
            break
        if time.monotonic() > deadline:
            _not_reached(layout, target, "its log says that it stopped, the server says that it goes on")
        time.sleep(_POLL_SECONDS)
    replayed_to = Lsn.parse(row[2])
    if not replayed_as_told(replayed_to, target):
        _not_reached(layout, target, f"the server stopped at {replayed_to}: {stop.line}")
    return Reached(stop.line, replayed_to, True, row[3])


def _open(session: Session, target: RecoveryTarget, reached: Reached) -> Reached:
    """Let the server end its recovery where it stands, and believe only its own answer that it did."""
    session.execute("SELECT pg_catalog.pg_wal_replay_resume()")
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        try:
            row = session.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()
        except psycopg.Error as error:
            raise NeighbourUnreachable(
                f"the copy went away while it was opened: {error}",
                where="the restored copy",
                intact="the source and the backup",
                next="backout doctor",
            ) from None
        if row == (False,):
            return Reached(reached.log_line, reached.replayed_to, False, _timeline(session))
        time.sleep(_POLL_SECONDS)
    raise BackoutError(
        f"the copy at {target} did not open for writing",
        where="the restored copy",
        intact="the source and the backup",
        next="backout doctor",
    )


def _timeline(session: Session) -> int:
    row = session.execute("SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn())").fetchone()
    assert row is not None
    return int(row[0][:8], 16)
