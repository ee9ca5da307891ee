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
from backout.postgres.physical.chain import removable
from backout.postgres.physical.clone import clone
from backout.postgres.physical.combine import combine
from backout.postgres.physical.verify import verify_backup
from backout.postgres.physical.wal import WalDirectories
from backout.postgres.servers import reachable

INCREMENTALS = 6
"""With one backup a day, a full one a week: a restore reads seven at most."""


def from_settings(options: Mapping[str, object], surroundings: Surroundings) -> BaseBackups:
    """Options: `store`, `archive` (directories), `pg_wal` where the source's own can be read, `incrementals`
    (how many may follow a full one; 0 = none), `keep` (how many of the newest stay; 0 = all)."""
    store, archive = (_directory(options, name, surroundings) for name in ("store", "archive"))
    more = (_directory(options, "pg_wal", surroundings),) if "pg_wal" in options else ()
    return BaseBackups(
        *(store, (archive, *more), surroundings),
        incrementals=_count(options, "incrementals", INCREMENTALS),
        keep=_count(options, "keep", 0),
    )


def _count(options: Mapping[str, object], name: str, default: int) -> int:
    value = options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigurationError(
            f"backups.{name} has to be a whole number, 0 or more",
            where="backout.toml",
            intact="everything; nothing was done",
            next=f"backups.{name} = {default} in backout.toml",
        )
    return value


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

    def __init__(
        self,
        store: Path,
        wal: tuple[Path, ...],
        surroundings: Surroundings,
        *,
        incrementals: int = INCREMENTALS,
        keep: int = 0,
    ) -> None:
        super().__init__(surroundings, superuser="")
        self._store = store
        self._directories = WalDirectories(wal)
        self._incrementals = incrementals
        self._keep = keep

    def _summaries(self) -> bool:
        return self._incrementals > 0

    def checks(self) -> tuple[Check, ...]:
        """Are there whole backups and WAL."""
        archive = self._directories.directories[0]
        return (
            _check(
                "base backups", len(self._listed()), "whole", self._store, "take one: backout backup take"
            ),
            _check("WAL archive", len(self._directories.names()), "segments", archive, "see archive_command"),
            *self._broken(),
        )

    def _broken(self) -> tuple[Check, ...]:
        try:
            broken = base_backup.read_broken(self._store)
        except BackoutError:
            return ()
        if not broken:
            return ()
        detail = (
            f"{', '.join(b.id for b in broken)}: what they are incremental on is gone, they restore nothing"
        )
        return (Check("broken chains", CheckState.WARN, detail, f"remove their folders in {self._store}"),)

    def list(self) -> tuple[Backup, ...]:
        """Every backup of the store that can be restored, oldest first."""
        return tuple(taken.backup for taken in base_backup.read_all(self._store))

    def take(self, label: str, *, full: bool = False) -> Backup:
        """Take one with pg_basebackup, incremental where it can be, and compare it with its manifest."""
        if not self._surroundings.dsn:
            raise ConfigurationError(
                "no connection string is configured to take a base backup with",
                where="backout.toml",
                intact="everything; no backup was taken",
                next="set dsn.snapshot of the target, then: backout backup take",
            )
        self._store.mkdir(mode=0o711, parents=True, exist_ok=True)
        return base_backup.take(
            *(self._surroundings.dsn, self._store, label),
            reserve_bytes=self._surroundings.reserve_bytes,
            incrementals=self._incrementals,
            full=full,
            tell=self._surroundings.tell,
        ).backup

    def tidy(self) -> tuple[str, ...]:
        """Remove what a killed `take` left; only while nobody else takes."""
        return base_backup.tidy(self._store)

    def expire(self) -> tuple[str, ...]:
        """Remove all but the newest that the setting keeps, and those that they need."""
        gone = removable(self.list(), self._keep)
        for backup in gone:
            base_backup.remove(self._store, backup.id)
        return tuple(backup.id for backup in gone)

    def _role(self, backup: Backup) -> str:
        return base_backup.read(self._store / backup.id).superuser

    def _fill(self, backup: Backup, target: RecoveryTarget, data: Path) -> None:
        binaries = reachable(for_major(backup.major))
        chain = [self._store / one / base_backup.DATA for one in (*backup.needs, backup.id)]
        for source in chain:
            verify_backup(binaries, source)
        data.rmdir()
        if len(chain) > 1:
            combine(binaries, chain, data, self._surroundings.tell)
        else:
            clone(chain[0], data, self._surroundings.tell)

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
