"""Prove a base backup: restore it to its own end in a new instance, read every row, remove the instance."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from backout.model.check import Check, CheckState
from backout.model.recovery import BackupEnd, Line
from backout.ports.backups import Backup, Backups, Instance
from backout.postgres.binaries import for_major
from backout.postgres.client import connection_environment, run_client
from backout.postgres.connect import open_session
from backout.postgres.servers import reachable

INSTANCE = "prove"
"""Name of the instance; one that a killed command left is taken or removed by the next."""
_APPLICATION = "backout/prove/0"


@dataclass(frozen=True, slots=True)
class Found:
    """What a restored backup was found to be."""

    seconds: float
    """Of restoring and reading it."""
    checks: tuple[Check, ...]


def prove(backups: Backups, backup: Backup) -> Found:
    """Restore this backup and read it whole. Raises what restoring raises; nothing of it is left."""
    began = time.monotonic()
    target = BackupEnd(Line(backup.system_identifier, backup.timeline), backup.id, backup.stop)
    try:
        instance = backups.restore_new(target, INSTANCE)
        restored = f"{_parts(backup)}, whole at {instance.reached.replayed_to}: {instance.reached.log_line}"
        checks = (Check("restored", CheckState.PASS, restored), _read_all(backups, instance))
    finally:
        backups.destroy(INSTANCE)
    return Found(round(time.monotonic() - began, 1), checks)


def _parts(backup: Backup) -> str:
    return f"combined from {len(backup.needs) + 1} backups" if backup.needs else "from one backup"


def _read_all(backups: Backups, instance: Instance) -> Check:
    """Every row of every database, through pg_dump to nowhere."""
    with open_session(backups.conninfo(instance, "template1"), _APPLICATION) as session:
        names = [
            str(row[0])
            for row in session.execute(
                "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn ORDER BY datname"
            ).fetchall()
        ]
    for name in names:
        if refused := _read(backups.conninfo(instance, name), instance.major):
            return Check("read", CheckState.FAIL, f"{name}: {refused}", "backout backup take --full")
    return Check("read", CheckState.PASS, f"pg_dump read every row of {len(names)} databases")


def _read(dsn: str, major: int) -> str:
    """Why a database cannot be read whole; empty when it can."""
    arguments = [reachable(for_major(major)).program("pg_dump"), "--no-password", f"--file={os.devnull}"]
    with connection_environment(dsn, _APPLICATION, {}) as environment:
        ended = run_client(arguments, environment)
    return "" if ended.exit_code == 0 else f"pg_dump {ended.died}: {ended.message}"
