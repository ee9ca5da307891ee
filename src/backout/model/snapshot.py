"""A backup snapshot, and the proof that it restores."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backout.model.check import Check


class SnapshotKind(StrEnum):
    DUMP = "dump"
    """pg_dump in directory format, in the store of backout."""
    PROVIDER = "provider"
    """Recorded by a person: an ID of somebody else's backup."""
    ADOPTED = "adopted"
    """A dump that somebody else made, restored and read once; it stays where it lies."""


class Scope(StrEnum):
    """How much a snapshot covers; never blurred."""

    WHOLE = "whole"
    BLAST_RADIUS = "blast radius"
    RECORDED = "recorded"


@dataclass(frozen=True, slots=True)
class TableContents:
    """Rows and the SHA-256 of the COPY stream of one table, as the dump holds it."""

    table: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that was taken and fully read back; it counts as proven only with a `Proof`."""

    id: str
    kind: SnapshotKind
    scope: Scope
    target: str
    database: str
    taken_at: str
    begun_at: str
    lsn: str
    """WAL position of the source when the dump's transaction snapshot was taken."""
    server_version: int
    directory: str
    """Where the files are; empty for a recorded snapshot."""
    size_bytes: int
    manifest_sha256: str
    tables: tuple[TableContents, ...]
    radius: tuple[str, ...] = ()
    """For scope `blast radius`: the tables whose rows are inside."""
    note: str = ""
    seconds: float = 0.0
    path: str = ""
    """Where an adopted backup lies; `manifest_sha256` is its own digest."""
    history_head: str = ""
    """Newest migration in an adopted backup; of our own dumps the manifest tells."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A snapshot was restored to a scratch server and read, table by table."""

    snapshot: str
    copy: str
    """Name of the restored copy (see `backout copies`)."""
    proven_at: str
    tables_equal: int
    tables_total: int
    rows: int
    checks: tuple[Check, ...]
    restore_seconds: float
    read_seconds: float
    bytes_per_second: float

    @property
    def holds(self) -> bool:
        """True when every table of the copy equals the dump and every check passed."""
        return self.tables_equal == self.tables_total and all(check.good for check in self.checks)


@dataclass(frozen=True, slots=True)
class BeforeUp:
    """The state before the migration and the database that holds it; all empty = none.

    From a snapshot: a database on the scratch server. From a base backup and the WAL: two instances.
    """

    snapshot: str
    database: str
    taken_at: str
    transactions: str = ""
    """Of a snapshot: `pg_current_snapshot()` of the source then, which tells what was committed since."""
    before: str = ""
    """Name of the instance just before the migration's commit; empty for a snapshot."""
    after: str = ""
    """Name of the instance just after it."""
    commits_inside: int = 0
    """Foreign transactions that committed between the two; 0 for a migration in one transaction."""
    timeline: int = 0
    """Of the WAL that the two came from; 0 for a snapshot."""
    commits: tuple[tuple[str, str], ...] = ()
    """The migration's transactions in commit order: (id of the top-level one, where its commit record is)."""
    why_not: str = ""
    """Why base backup and WAL were not restored; empty when they were, or when none are configured."""
