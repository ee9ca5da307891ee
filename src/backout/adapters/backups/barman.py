"""Barman: its backups and its archive, restored beside production; missing WAL is asked for first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backout.adapters.backups.program import Program, text_option
from backout.errors import BackoutError, NeighbourUnreachable, Refused
from backout.model.check import Check, CheckState
from backout.model.recovery import Lsn, RecoveryTarget
from backout.ports.backups import Backup, Surroundings
from backout.postgres.physical.backups import PhysicalBackups
from backout.postgres.physical.wal import is_segment, missing

KIND = "barman"


def from_settings(options: Mapping[str, object], surroundings: Surroundings) -> Barman:
    """Options: `server`; `config` (its configuration file), `superuser` (default postgres)."""
    arguments: tuple[str, ...] = ()
    if "config" in options:
        arguments = ("-c", str(surroundings.project / text_option(options, "config")))
    superuser = text_option(options, "superuser", "postgres")
    return Barman(Program("barman", arguments), text_option(options, "server"), surroundings, superuser)


class Barman(PhysicalBackups):
    """Works on the machine of Barman, as the account that runs it.

    `barman recover` copies only what was archived by then, and says nothing when that ends too early.
    """

    name = KIND
    archives = True

    def __init__(self, program: Program, server: str, surroundings: Surroundings, superuser: str) -> None:
        super().__init__(surroundings, superuser)
        self._program = program
        self._server = server

    def checks(self) -> tuple[Check, ...]:
        """Is the tool there and does it know backups; what `barman check` says belongs to `take`."""
        try:
            count = len(self.list())
        except BackoutError as error:
            return (Check(KIND, CheckState.FAIL, error.what, error.next),)
        if not count:
            none = f"server {self._server} has no backup"
            return (Check(KIND, CheckState.FAIL, none, "backout backup take"),)
        return (Check(KIND, CheckState.PASS, f"{count} backups of server {self._server}"),)

    def list(self) -> tuple[Backup, ...]:
        """Every backup that is done, oldest first."""
        told = self._program.ask("--format=json", "list-backups", self._server)[self._server]
        done = [one["backup_id"] for one in told if one["status"] in ("DONE", "WAITING_FOR_WALS")]
        identifier = self._system_identifier() if done else ""
        found = (parse_backup(self._show(label), identifier) for label in done)
        return tuple(sorted(found, key=lambda backup: backup.stop))

    def archive_now(self) -> bool:
        """Barman's own login may switch the WAL; it waits until the segment is filed."""
        self._switch()
        return True

    def take(self, label: str, *, full: bool = False) -> Backup:
        """Check the server, then take a backup and wait for its WAL.

        Called again it takes another one: Barman 3.4 saves a backup before it gives it its name, so the name
        is not found afterwards. Ours begins with backout-: `first` and other words are taken.
        """
        with suppress(NeighbourUnreachable):
            self._switch()
        self._program.run("check", self._server)
        before = {backup.id for backup in self.list()}
        self._program.run("backup", "--wait", "--name", f"backout-{label}", self._server)
        new = [backup for backup in self.list() if backup.id not in before]
        if not new:
            raise NeighbourUnreachable(
                "barman backup ended well, and there is no new backup",
                where=self._server,
                intact="the source and every backup",
                next=f"barman list-backup {self._server}",
            )
        return new[-1]

    def wal(self, data: Path | None = None) -> _Archive:
        """The archive of the server."""
        return _Archive(self._program, self._server, self._directory("wals_directory"))

    def _require_wal(self, backup: Backup, target: RecoveryTarget) -> None:
        try:
            super()._require_wal(backup, target)
        except Refused:
            with suppress(NeighbourUnreachable):  # the source may be gone: then the segment stays missing
                self._switch()
            super()._require_wal(backup, target)

    def _fill(self, backup: Backup, target: RecoveryTarget, data: Path) -> None:
        told = self._show(backup.id)
        if told["tablespaces"]:
            raise Refused(
                f"backup {backup.id} has tablespaces, which would be restored over the original ones",
                where=self._server,
                intact="everything; nothing was restored",
                next="restore it by hand with barman recover --tablespace",
            )
        # Its recovery settings and its WAL are not taken: both are made by us, for this target.
        self._program.run("recover", "--get-wal", self._server, backup.id, str(data))

    def _switch(self) -> None:
        self._program.run("switch-wal", "--force", "--archive", self._server)

    def _show(self, label: str) -> Mapping[str, Any]:
        told: Mapping[str, Any] = self._program.ask("--format=json", "show-backup", self._server, label)
        if self._server not in told:
            raise NeighbourUnreachable(
                f"barman knows no backup {label} of {self._server}",
                where=self._server,
                intact="the source and every backup",
                next="backout backup list",
            )
        shown: Mapping[str, Any] = told[self._server]
        return shown

    def _directory(self, name: str) -> Path:
        return Path(self._program.ask("--format=json", "show-servers", self._server)[self._server][name])

    def _system_identifier(self) -> str:
        """As Barman keeps it beside its backups: the source need not answer."""
        file = self._directory("backup_directory") / "identity.json"
        try:
            return str(json.loads(file.read_text())["systemid"])
        except (OSError, ValueError, KeyError):
            raise NeighbourUnreachable(
                f"barman keeps no system identifier in {file}",
                where=str(file),
                intact="the source and every backup",
                next=f"barman check {self._server}",
            ) from None


def parse_backup(told: Mapping[str, Any], system_identifier: str) -> Backup:
    """One backup in the answer of `barman -f json show-backup`."""
    base = told["base_backup_information"]
    ended = datetime.fromtimestamp(int(base["end_time_timestamp"]), UTC)
    return Backup(
        id=told["backup_id"],
        kind=KIND,
        system_identifier=system_identifier,
        major=int(told["postgresql_version"]) // 10000,
        timeline=int(base["timeline"]),
        start=Lsn.parse(base["begin_lsn"]),
        stop=Lsn.parse(base["end_lsn"]),
        taken_at=ended.strftime("%Y-%m-%dT%H:%M:%SZ"),
        size_bytes=int(base["disk_usage_bytes"]),
        checks=(Check("backup", CheckState.PASS, f"barman calls it {told['status']}"),),
    )


@dataclass(frozen=True, slots=True)
class _Archive:
    """The WAL archive of a server; its files keep the plain name, compressed or not."""

    program: Program
    server: str
    directory: Path

    def names(self) -> frozenset[str]:
        """The segments that Barman has filed."""
        return frozenset(path.name for path in self.directory.glob("*/*") if is_segment(path.name))

    def bring(self, names: Iterable[str], directory: Path) -> None:
        """Fetch each one with get-wal, which decompresses it."""
        for name in names:
            if (directory / name).exists():
                continue
            try:
                self.program.run("get-wal", "--output-directory", str(directory), self.server, name)
            except NeighbourUnreachable as error:
                raise missing(name, "", f"barman, server {self.server}: {error.what}") from None
