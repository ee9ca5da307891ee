"""Where a restore ends: typed targets, the migration as the WAL shows it, and what was found instead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})\Z")


@dataclass(frozen=True, slots=True, order=True)
class Lsn:
    """A byte position in the WAL."""

    position: int

    @classmethod
    def parse(cls, text: str) -> Lsn:
        """From `16/B374D848`; raises `ValueError` for anything else."""
        found = _LSN.match(text.strip())
        if found is None:
            raise ValueError(f"not a WAL position: {text!r}")
        return cls((int(found[1], 16) << 32) | int(found[2], 16))

    def __str__(self) -> str:
        return f"{self.position >> 32:X}/{self.position & 0xFFFFFFFF:X}"


@dataclass(frozen=True, slots=True)
class Line:
    """Which cluster, and which of its timelines: a position means nothing without them."""

    system_identifier: str
    timeline: int


@dataclass(frozen=True, slots=True)
class NamedPoint:
    """A restore point: its name, and the position that `pg_create_restore_point` returned."""

    name: str
    lsn: Lsn


@dataclass(frozen=True, slots=True)
class FirstRecord:
    """The first WAL record of the migration."""

    lsn: Lsn


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit of a top-level transaction; `lsn` is where its commit record begins."""

    xid: int
    lsn: Lsn


@dataclass(frozen=True, slots=True)
class ForReplay:
    """Just before the migration's first record: every later write has to come from the log."""

    line: Line
    at: NamedPoint | FirstRecord
    kind: Literal["for_replay"] = "for_replay"

    def __str__(self) -> str:
        if isinstance(self.at, NamedPoint):
            return f"restore point {self.at.name} ({self.at.lsn})"
        return f"just before the migration's first record ({self.at.lsn})"


@dataclass(frozen=True, slots=True)
class TwinBefore:
    """Everything that committed before the migration did, and nothing of the migration."""

    line: Line
    commit: Commit
    kind: Literal["twin_before"] = "twin_before"
    """The sides have one shape: in a journal only this tells them apart."""

    def __str__(self) -> str:
        return f"just before the commit of transaction {self.commit.xid} ({self.commit.lsn})"


@dataclass(frozen=True, slots=True)
class TwinAfter:
    """The same, and the migration's commit: the last thing in it."""

    line: Line
    commit: Commit
    kind: Literal["twin_after"] = "twin_after"

    def __str__(self) -> str:
        return f"just after the commit of transaction {self.commit.xid} ({self.commit.lsn})"


@dataclass(frozen=True, slots=True)
class UpTo:
    """Every record that begins before a place in the WAL, and none that begins there or later."""

    line: Line
    lsn: Lsn
    kind: Literal["up_to"] = "up_to"

    def __str__(self) -> str:
        return f"WAL position {self.lsn}"


@dataclass(frozen=True, slots=True)
class BackupEnd:
    """The end of one base backup: the first moment at which it is whole. `lsn` is where that is."""

    line: Line
    backup: str
    lsn: Lsn
    kind: Literal["backup_end"] = "backup_end"

    def __str__(self) -> str:
        return f"the end of backup {self.backup} ({self.lsn})"


RecoveryTarget = ForReplay | TwinBefore | TwinAfter | UpTo | BackupEnd


@dataclass(frozen=True, slots=True)
class DumpMoment:
    """The transaction snapshot of a dump: no WAL is replayed. `lsn` is the source's position then; empty for
    a dump that somebody else made."""

    snapshot: str
    taken_at: str
    lsn: str
    kind: Literal["dump_moment"] = "dump_moment"

    def __str__(self) -> str:
        return f"snapshot {self.snapshot} of {self.taken_at}"


def position(target: RecoveryTarget) -> Lsn:
    """Where in the WAL the target lies: which backups are old enough, how far the WAL has to reach."""
    match target:
        case ForReplay(at=at):
            return at.lsn
        case TwinBefore(commit=commit) | TwinAfter(commit=commit):
            return commit.lsn
        case UpTo(lsn=lsn) | BackupEnd(lsn=lsn):
            return lsn


@dataclass(frozen=True, slots=True)
class Transaction:
    """A committed top-level transaction, as its WAL records show it."""

    xid: int
    first_record: Lsn
    """First record of it or of one of its subtransactions."""
    commit: Lsn
    committed_at: str
    """RFC 3339 in UTC, from the commit record."""
    subtransactions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class BadMigration:
    """The transactions of one run of the migration tool, in commit order, and what lies around them."""

    line: Line
    transactions: tuple[Transaction, ...]
    commits_inside: int
    """Foreign transactions that committed between the first and the last of them: they are part of what
    lies between the twins. 0 for a migration in one transaction."""
    suspects: tuple[Transaction, ...] = ()
    """Foreign transactions that held an ACCESS EXCLUSIVE lock and committed shortly before or in between,
    as far as the WAL was read: some tools commit their DDL apart from the history row."""

    @property
    def first_bad(self) -> Lsn:
        """The first record of the first of them."""
        return min(transaction.first_record for transaction in self.transactions)


@dataclass(frozen=True, slots=True)
class NotInWal:
    """The migration could not be found in the WAL, and which undo remains."""

    reason: str
    remains: tuple[str, ...]
    committed_at: str = ""
    """Its commit time, where the server keeps commit timestamps; a restore to before it needs no WAL of
    ours, only a provider that takes a time."""


def for_replay(source: BadMigration | NamedPoint, line: Line) -> ForReplay:
    """The target from which all later writes are replayed: the named point, else the first bad record."""
    at = source if isinstance(source, NamedPoint) else FirstRecord(source.first_bad)
    return ForReplay(line, at)


def twin_before(migration: BadMigration) -> TwinBefore:
    """The last state without the migration: before the first of its commits."""
    return TwinBefore(migration.line, _commit(migration.transactions[:1]))


def twin_after(migration: BadMigration) -> TwinAfter:
    """The first state with the whole migration: after the last of its commits."""
    return TwinAfter(migration.line, _commit(migration.transactions[-1:]))


def _commit(transactions: Sequence[Transaction]) -> Commit:
    return Commit(transactions[0].xid, transactions[0].commit)
