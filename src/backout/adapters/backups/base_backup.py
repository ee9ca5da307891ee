"""Base backups of our own: a store directory with what pg_basebackup took, beside a WAL archive directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backout.errors import BackoutError, ConfigurationError
from backout.model.check import Check, CheckState
from backout.model.recovery import RecoveryTarget
from backout.ports.backups import Backup, Surroundings
from backout.postgres.binaries import for_major
from backout.postgres.physical import base_backup
from backout.postgres.physical.backups import PhysicalBackups
from backout.postgres.physical.clone import clone
from backout.postgres.physical.verify import verify_backup
from backout.postgres.physical.wal import WalDirectories
from backout.postgres.servers import reachable


def from_settings(options: Mapping[str, object], surroundings: Surroundings) -> BaseBackups:
    """Options: `store`, `archive` (directories), and `pg_wal` where the source's own can be read."""
    store, archive = (_directory(options, name, surroundings) for name in ("store", "archive"))
    more = (_directory(options, "pg_wal", surroundings),) if "pg_wal" in options else ()
    return BaseBackups(store, (archive, *more), surroundings)


def _directory(options: Mapping[str, object], name: str, surroundings: Surroundings) -> Path:
    value = options.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigurationError(
            f"backups.{name} has to name a directory",
            where="backout.toml",
            intact="everything; nothing was done",
            next=f'backups.{name} = "DIRECTORY" in backout.toml',
        )
    return surroundings.project / value


class BaseBackups(PhysicalBackups):
    """One folder a backup in the store; the source's archive_command fills the archive."""

    name = base_backup.KIND

    def __init__(self, store: Path, wal: tuple[Path, ...], surroundings: Surroundings) -> None:
        super().__init__(surroundings, superuser="")
        self._store = store
        self._directories = WalDirectories(wal)

    def checks(self) -> tuple[Check, ...]:
        """Are there whole backups and WAL."""
        archive = self._directories.directories[0]
        return (
            _check(
                "base backups", len(self._listed()), "whole", self._store, "take one: backout backup take"
            ),
            _check("WAL archive", len(self._directories.names()), "segments", archive, "see archive_command"),
        )

    def list(self) -> tuple[Backup, ...]:
        """Every whole backup of the store, oldest first."""
        return tuple(taken.backup for taken in base_backup.read_all(self._store))

    def take(self, label: str) -> Backup:
        """Take one with pg_basebackup and compare it with its manifest."""
        if not self._surroundings.dsn:
            raise ConfigurationError(
                "no connection string is configured to take a base backup with",
                where="backout.toml",
                intact="everything; no backup was taken",
                next="set dsn.snapshot of the target, then: backout backup take",
            )
        self._store.mkdir(mode=0o711, parents=True, exist_ok=True)
        reserve = self._surroundings.reserve_bytes
        return base_backup.take(self._surroundings.dsn, self._store, label, reserve_bytes=reserve).backup

    def _role(self, backup: Backup) -> str:
        return base_backup.read(self._store / backup.id).superuser

    def _fill(self, backup: Backup, target: RecoveryTarget, data: Path) -> None:
        source = self._store / backup.id / base_backup.DATA
        verify_backup(reachable(for_major(backup.major)), source)
        data.rmdir()
        clone(source, data)

    def wal(self, data: Path | None = None) -> WalDirectories:
        """The archive, and pg_wal where it was named."""
        return self._directories

    def _listed(self) -> tuple[Backup, ...]:
        try:
            return self.list()
        except BackoutError:
            return ()


def _check(name: str, count: int, what: str, where: Path, mend: str) -> Check:
    state = CheckState.PASS if count else CheckState.FAIL
    return Check(name, state, f"{count} {what} in {where}", "" if count else mend)
