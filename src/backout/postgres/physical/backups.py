"""What all kinds of physical backups share: one restore to a typed target, one twin, always new instances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from backout.errors import Refused
from backout.model.recovery import Lsn, RecoveryTarget, TwinAfter, TwinBefore, position
from backout.ports.backups import (
    Backup,
    Capabilities,
    Instance,
    Listening,
    ServingSource,
    Surroundings,
    TargetKind,
    Twin,
    WalSource,
)
from backout.postgres import servers
from backout.postgres.physical import serving
from backout.postgres.physical.blocks import shares_blocks_within
from backout.postgres.physical.choose import choose, last_byte, needed
from backout.postgres.physical.clone import clone, give_tree, require_space
from backout.postgres.physical.control import Control, read_control
from backout.postgres.physical.instances import Instances
from backout.postgres.physical.isolation import isolate
from backout.postgres.physical.recovery import Ending, aim, recover
from backout.postgres.physical.wal import require_all, segments
from backout.postgres.scratch import Recorded, layout_of


@dataclass(frozen=True, slots=True)
class _Filled:
    """A recorded data directory: filled, isolated, not started yet."""

    name: str
    record: Recorded
    backup: Backup
    control: Control
    wal: WalSource

    @property
    def data(self) -> Path:
        return Path(self.record.data)


class PhysicalBackups(ABC):
    """Restores whole clusters from a data directory and WAL segments; a subclass knows where both come from.

    The WAL that a restore needs is brought to a directory before the first start: so a gap is named before
    anything runs, and the copy recovers without a network.
    """

    name: str

    def __init__(self, surroundings: Surroundings, superuser: str) -> None:
        """`superuser` exists in the source; a copy is entered as this role."""
        self._surroundings = surroundings
        self._superuser = superuser
        self._instances = Instances(surroundings)

    def superuser(self) -> str:
        """Role as which restored instances are entered, as it was configured; empty = each backup knows."""
        return self._superuser

    @abstractmethod
    def list(self) -> tuple[Backup, ...]:
        """Every whole backup, oldest first."""

    @abstractmethod
    def _fill(self, backup: Backup, target: RecoveryTarget, data: Path) -> None:
        """Put the files of the backup into the empty directory `data`; raises `Refused` for a damaged one."""

    @abstractmethod
    def wal(self, data: Path | None = None) -> WalSource:
        """Where the WAL is; `data` is a data directory of the cluster, for a tool that asks for one."""

    archives = False
    """Whether `archive_now` works: a directory of files can ask nobody for the newest WAL."""

    def archive_now(self) -> bool:
        """False: a tool that can ask the source does more."""
        return False

    def capabilities(self) -> Capabilities:
        """Everything but a time: a clock is no recovery target here."""
        return Capabilities(
            frozenset({TargetKind.NAME, TargetKind.LSN, TargetKind.XID}),
            *("record", True, True, True, True),
            archives=self.archives,
            summaries=self._summaries(),
        )

    def _summaries(self) -> bool:
        """Whether `take` copies only what changed where the server summarizes its WAL."""
        return False

    def tidy(self) -> tuple[str, ...]:
        """Nothing: a tool of its own clears up after itself."""
        return ()

    def expire(self) -> tuple[str, ...]:
        """Nothing: a tool of its own has a retention of its own."""
        return ()

    def instances(self) -> tuple[Instance, ...]:
        """Those that were made whole and still are there, running or not."""
        return self._instances.all()

    def unfinished(self) -> tuple[str, ...]:
        """Names of those that a killed command left half made."""
        return self._instances.unfinished()

    def conninfo(self, instance: Instance, database: str) -> str:
        """libpq connection string; starts the instance when it does not run."""
        return self._instances.conninfo(instance.name, database)

    def serve(self, instance_name: str, listening: Listening, source: ServingSource) -> Instance:
        """Make an instance the server that others use; one that serves there is returned as it is."""
        return serving.serve(self._instances, instance_name, listening, source)

    def retire(self, instance_name: str) -> None:
        """Isolate and mark an instance again. Idempotent."""
        serving.retire(self._instances, instance_name)

    def destroy(self, instance_name: str) -> None:
        """Stop and remove an instance, also a half made one, never one that serves. Idempotent."""
        self._instances.destroy(instance_name)

    def restore_new(self, target: RecoveryTarget, name: str) -> Instance:
        """A new instance at the target, open for writing and marked; a whole one of this name and target
        is returned as it is."""
        if (there := self._instances.find(name, target)) is not None:
            return there
        backup = choose(self.list(), target)
        self._require_wal(backup, target)
        try:
            return self._open(self._prepare(name, backup, target, copies=1), target)
        except BaseException:
            self.destroy(name)
            raise

    def restore_twin(self, before: TwinBefore, after: TwinAfter, name: str) -> Twin:
        """Both sides of a migration from one restore: brought to just before, stopped, cloned, and the clone
        moved on. So rows that the migration did not touch lie at the same place in both."""
        first, second = f"{name}-before", f"{name}-after"
        there = self._instances.find(first, before), self._instances.find(second, after)
        if there[0] is not None and there[1] is not None:
            return Twin(there[0], there[1])
        _require_order(before, after)
        backup = choose(self.list(), before)
        self._require_wal(backup, after)
        try:
            return self._make_twin(
                self._prepare(first, backup, before, copies=self._copies_of_twin()), before, after, second
            )
        except BaseException:
            self.destroy(first)
            self.destroy(second)
            raise

    def _copies_of_twin(self) -> int:
        """How often the disk has to hold the cluster: the second side shares the blocks of the first where
        the file system can."""
        return 1 if shares_blocks_within(self._surroundings.instances) else 2

    def _make_twin(self, first: _Filled, before: TwinBefore, after: TwinAfter, name: str) -> Twin:
        self._aim(first, before)
        recover(layout_of(first.record), before, Ending.SHUTDOWN)
        self.destroy(name)
        record = self._instances.announce(name, first.backup, first.record.role)
        second = _Filled(name, record, first.backup, first.control, first.wal)
        how = clone(first.data, second.data, self._surroundings.tell)
        isolate(second.data, name, first.control, set_aside=False)
        return Twin(self._open(first, before), self._open(second, after, how))

    def _prepare(self, name: str, backup: Backup, target: RecoveryTarget, copies: int) -> _Filled:
        """Fill a new data directory, compare the cluster, isolate it."""
        place = self._surroundings.instances
        require_space(place, copies * backup.size_bytes, self._surroundings.reserve_bytes)
        self.destroy(name)
        record = self._instances.announce(name, backup, self._role(backup))
        data = Path(record.data)
        data.mkdir(mode=0o700)
        servers.give(data)
        self._fill(backup, target, data)
        give_tree(data)
        control = read_control(layout_of(record).binaries, data)
        _require_cluster(control, target, data)
        _require_segment_size(control, backup, data)
        isolate(data, name, control)
        return _Filled(name, record, backup, control, self.wal(data))

    def _role(self, backup: Backup) -> str:
        """Superuser of a copy of this backup."""
        return self._superuser

    def _open(self, filled: _Filled, target: RecoveryTarget, how: str = "restore") -> Instance:
        self._aim(filled, target)
        reached = recover(layout_of(filled.record), target, Ending.PROMOTE)
        return self._instances.complete(filled.name, filled.record, filled.backup, target, reached, how)

    def _aim(self, filled: _Filled, target: RecoveryTarget) -> None:
        """Bring the WAL up to the target, and point the next start at it."""
        wal = filled.data.parent / "wal"
        wal.mkdir(mode=0o711, exist_ok=True)
        servers.give(wal)
        there = filled.wal.names()
        own = {path.name for path in (filled.data / "pg_wal").iterdir()}
        early, late = needed(filled.backup, target)
        require_all(early, there | own, self._archive)
        reserve = segments(filled.backup.timeline, *(_next(filled.backup, target),) * 2)
        filled.wal.bring([one for one in (*early, *late, *reserve) if one in there], wal)
        aim(filled.data, target, wal)

    def _require_wal(self, backup: Backup, target: RecoveryTarget) -> None:
        require_all(needed(backup, target)[1], self.wal().names(), self._archive)

    @property
    def _archive(self) -> str:
        return f"the WAL archive of {self.name}"


def _next(backup: Backup, target: RecoveryTarget) -> Lsn:
    """A position in the segment after the last: the record at the target may end there."""
    return Lsn(last_byte(target).position + backup.wal_segment_bytes)


def _require_order(before: TwinBefore, after: TwinAfter) -> None:
    if before.line != after.line or position(after) < position(before):
        raise Refused(
            f"{after} does not follow {before}: this is no twin",
            where="the WAL of the source",
            intact="everything",
            next="backout backup list",
        )


def _require_cluster(control: Control, target: RecoveryTarget, data: Path) -> None:
    if control.system_identifier != target.line.system_identifier:
        raise Refused(
            f"the restored files are of another cluster: they have system identifier "
            f"{control.system_identifier}, the target has {target.line.system_identifier}",
            where=str(data),
            intact="everything; the copy was not started",
            next="correct the backups of this target in backout.toml",
        )


def _require_segment_size(control: Control, backup: Backup, data: Path) -> None:
    """The WAL that is needed was named by this size."""
    if control.segment_bytes != backup.wal_segment_bytes:
        raise Refused(
            f"the cluster writes WAL segments of {control.segment_bytes} bytes, which its backup did not say",
            where=str(data),
            intact="everything; the copy was not started",
            next="restore it with the tool itself",
        )
