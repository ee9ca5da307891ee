"""What a data directory says of itself, without a server: the control file through pg_controldata."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backout.errors import Refused
from backout.postgres.binaries import Binaries

# A hot standby needs at least what the source had when it wrote the WAL; the control file remembers that.
_NEEDED = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_xacts",
    "max_locks_per_xact",
)
_SETTING_NAMES = {
    "max_prepared_xacts": "max_prepared_transactions",
    "max_locks_per_xact": "max_locks_per_transaction",
}


@dataclass(frozen=True, slots=True)
class Control:
    """The part of a control file that decides a restore."""

    system_identifier: str
    state: str
    """`in production`, `shut down`, `shut down in recovery`, …"""
    timeline: int
    segment_bytes: int
    needed: Mapping[str, str]
    """Settings below which a hot standby of this cluster does not start."""


def major_of(data: Path) -> int:
    """The major version whose programs run this data directory; raises `Refused` for anything else."""
    try:
        return int((data / "PG_VERSION").read_text().split(".")[0])
    except (OSError, ValueError):
        raise Refused(
            "this is no data directory of PostgreSQL: it has no PG_VERSION",
            where=str(data),
            intact="the source; this copy is not used",
            next="backout backup list",
        ) from None


def read_control(binaries: Binaries, data: Path) -> Control:
    """Read the control file; raises `Refused` when it cannot be read or is damaged."""
    shown = subprocess.run(  # noqa: S603 - a program of an installation we found, no shell
        [binaries.program("pg_controldata"), f"-D{data}"],
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C"},
    )
    if shown.returncode != 0 or "CRC" in shown.stdout.partition("\n\n")[0]:
        reason = (shown.stderr or shown.stdout).strip().splitlines()[-1:]
        raise Refused(
            f"the control file cannot be read: {''.join(reason)}",
            where=str(data),
            intact="the source; this copy is not used",
            next="backout backup list",
        )
    return parse_control(shown.stdout)


def parse_control(text: str) -> Control:
    """The control file from what pg_controldata prints in English."""
    values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    found = {name.strip(): value.strip() for name, value in values.items()}
    return Control(
        found["Database system identifier"],
        found["Database cluster state"],
        int(found["Latest checkpoint's TimeLineID"]),
        int(found["Bytes per WAL segment"]),
        {_SETTING_NAMES.get(name, name): found[f"{name} setting"] for name in _NEEDED},
    )
