"""pgBackRest: its backups and its archive, restored beside production and never over it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backout.adapters.backups.program import Program, text_option
from backout.errors import BackoutError, NeighbourUnreachable
from backout.model.check import Check, CheckState
from backout.model.recovery import BackupEnd, Lsn, RecoveryTarget, position
from backout.ports.backups import Backup, Surroundings
from backout.postgres.physical.backups import PhysicalBackups
from backout.postgres.physical.wal import is_segment, missing

KIND = "pgbackrest"


def from_settings(options: Mapping[str, object], surroundings: Surroundings) -> PgBackRest:
    """Options: `stanza`; `config` (its configuration file), `superuser` (default postgres)."""
    stanza = text_option(options, "stanza")
    arguments = [f"--stanza={stanza}", "--log-level-console=error", "--log-level-stderr=error"]
    if "config" in options:
        arguments.append(f"--config={surroundings.project / text_option(options, 'config')}")
    program = Program("pgbackrest", tuple(arguments))
    return PgBackRest(program, stanza, surroundings, text_option(options, "superuser", "postgres"))


class PgBackRest(PhysicalBackups):
    """Restores by `--set` and position: of its own accord the tool takes the newest backup for a name, also
    one that is newer than the restore point."""

    name = KIND
    archives = True

    def __init__(self, program: Program, stanza: str, surroundings: Surroundings, superuser: str) -> None:
        super().__init__(surroundings, superuser)
        self._program = program
        self._stanza = stanza

    def checks(self) -> tuple[Check, ...]:
        """Is the tool there and does it find backups; what `pgbackrest check` says belongs to `take`."""
        try:
            count = len(self.list())
        except BackoutError as error:
            return (Check(KIND, CheckState.FAIL, error.what, error.next),)
        if not count:
            return (
                Check(KIND, CheckState.FAIL, f"stanza {self._stanza} has no backup", "backout backup take"),
            )
        return (Check(KIND, CheckState.PASS, f"{count} backups in stanza {self._stanza}"),)

    def list(self) -> tuple[Backup, ...]:
        """Every backup that ended without a page error, oldest first."""
        return parse_info(self._program.ask("info", "--output=json"))

    def archive_now(self) -> bool:
        """`check` switches the WAL as the account of the server, and waits until the repository has it."""
        self._program.run("check")
        return True

    def take(self, label: str, *, full: bool = False) -> Backup:
        """Check the stanza, then take an incremental backup (the first is full), annotated with the label."""
        for there in self.list():
            if f"label {label}" in {check.detail for check in there.checks}:
                return there
        self._program.run("check")
        kind = "full" if full else "incr"
        self._program.run("backup", f"--type={kind}", f"--annotation=backout={label}")
        return self.list()[-1]

    def wal(self, data: Path | None = None) -> _Archive:
        """The archive of the stanza; without `data` the tool needs its configured data directory."""
        return _Archive(self._program, self._stanza, data)

    def _fill(self, backup: Backup, target: RecoveryTarget, data: Path) -> None:
        # Its own recovery settings are written anew by us; the target is named all the same, so that the tool
        # itself refuses a set that does not reach it.
        at_its_end = isinstance(target, BackupEnd)
        where = ("--type=immediate",) if at_its_end else ("--type=lsn", f"--target={position(target)}")
        self._program.run(
            "restore",
            f"--set={backup.id}",
            f"--pg1-path={data}",
            *where,
            "--target-action=pause",
            "--archive-mode=off",
            f"--tablespace-map-all={data.parent / 'tablespaces'}",
        )


def parse_info(stanzas: Any) -> tuple[Backup, ...]:
    """The backups in the answer of `pgbackrest info --output=json`."""
    backups: list[Backup] = []
    for stanza in stanzas:
        systems = {db["id"]: db for db in stanza["db"]}
        found = (_backup(one, systems) for one in stanza["backup"] if not one.get("error"))
        backups += [one for one in found if one is not None]
    return tuple(sorted(backups, key=lambda backup: backup.stop))


def _backup(told: Mapping[str, Any], systems: Mapping[int, Mapping[str, Any]]) -> Backup | None:
    """One backup; None for one that does not say where it begins and ends."""
    lsn, archive = told.get("lsn"), told.get("archive")
    if not lsn or not archive or not archive.get("start"):
        return None
    db = systems[told["database"]["id"]]
    detail = f"label {(told.get('annotation') or {}).get('backout', '')}"
    return Backup(
        id=told["label"],
        kind=KIND,
        system_identifier=str(db["system-id"]),
        major=int(str(db["version"]).split(".")[0]),
        timeline=int(archive["start"][:8], 16),
        start=Lsn.parse(lsn["start"]),
        stop=Lsn.parse(lsn["stop"]),
        taken_at=datetime.fromtimestamp(told["timestamp"]["stop"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        size_bytes=told["info"]["size"],
        checks=(Check("backup", CheckState.PASS, detail),),
        needs=tuple(told.get("reference") or ()),
        stored_bytes=told["info"].get("repository", {}).get("delta") or 0,
    )


@dataclass(frozen=True, slots=True)
class _Archive:
    """The WAL archive of a stanza, compressed or not."""

    program: Program
    stanza: str
    data: Path | None

    def names(self) -> frozenset[str]:
        """The segments in the repository; the files carry a checksum and a suffix behind the name."""
        listed = self.program.ask("repo-ls", f"archive/{self.stanza}", "--recurse", "--output=json")
        files = (path.rpartition("/")[2] for path in listed)
        return frozenset(name[:24] for name in files if is_segment(name[:24]) and name[24:25] == "-")

    def bring(self, names: Iterable[str], directory: Path) -> None:
        """Fetch each one with archive-get, which decompresses and compares its checksum."""
        where = [f"--pg1-path={self.data}"] if self.data is not None else []
        for name in names:
            if (directory / name).exists():
                continue
            try:
                self.program.run(*where, "archive-get", name, str(directory / name))
            except NeighbourUnreachable as error:
                raise missing(name, "", f"pgbackrest, stanza {self.stanza}: {error.what}") from None
