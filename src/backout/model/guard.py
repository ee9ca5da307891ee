"""A guard: what is armed before a migration so that a back-out can bring every later write along."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backout.model.check import Check
from backout.model.target import TargetIdentity


class Needs(StrEnum):
    """What one part of arming asks of the role."""

    OWNER = "owner"
    REPLICATION = "REPLICATION"
    SUPERUSER = "superuser"
    """Or the function granted: `GRANT EXECUTE`."""
    FILES = "files"


class Reach(StrEnum):
    """How much of a table's later writes the slot will hold."""

    EVERY = "every write"
    INSERTS = "inserts only"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """The policy: how long a guard stays, and how much WAL it may hold back before it drops itself."""

    window_seconds: float = 24 * 3600.0
    wal_cap_bytes: int = 8_000_000_000


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person who arms asked for."""

    tables: tuple[str, ...] = ()
    """Only these; empty = every table."""
    full: tuple[str, ...] = ()
    """Tables for which REPLICA IDENTITY FULL is approved."""
    origin: bool = False
    """Give every session of the migration a replication origin, beside the marker."""
    slot_is_kept: bool = False
    """A person's word that the platform (Patroni) leaves our slot alone."""


@dataclass(frozen=True, slots=True)
class TableCoverage:
    """One table (for a partitioned one its root) and what of its writes will be captured."""

    table: str
    oid: int
    partitioned: bool
    reach: Reach
    full: bool
    """Old rows are in the log whole: FULL, set by us or found."""
    note: str
    """Why it is not more, and what mends it; what it costs where FULL is approved."""
    leaves: tuple[int, ...] = ()
    """oids of the leaves of a partitioned table: one that is detached later leaves the stream silently."""
    demoted: bool = False
    """It lost its replica identity after arming; updates were taken out so that the application's go on."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The replica identity of one table or leaf as it was found; it is put back on every way out."""

    table: str
    oid: int
    before: str
    """`relreplident`: `d` default, `n` nothing, `i` index."""
    index: str = ""
    """For `i`: the name of the index."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of arming: what it needs, whether the role can do it here, what is lost without it."""

    name: str
    needs: Needs
    possible: bool
    what: str
    without: str = ""


@dataclass(frozen=True, slots=True)
class GuardPlan:
    """Everything that arming will do, settled and journalled before anything is touched.

    Names and old identities stand here, so that a killed command can be cleared from this record alone.
    """

    guard: str
    target: str
    identity: TargetIdentity
    slot: str
    """Empty: there can be none."""
    failover: bool
    publication: str
    """Of tables whose every write is captured; empty without a slot."""
    inserts_only: str
    """The second one, of tables without a usable identity. It is made even when it begins empty: a table
    that loses its key later moves there."""
    restore_point: str
    """Empty: the role may not make one."""
    origin_prefix: str
    """Empty: the marker message alone."""
    coverage: tuple[TableCoverage, ...]
    identities: tuple[Identity, ...]
    """Of tables that get FULL."""
    parts: tuple[Part, ...]
    unseen: tuple[str, ...]
    """What no slot shows, by name."""
    warnings: tuple[str, ...]
    remains: str
    """The best undo that stays possible, and what it costs."""
    schema_digest: str
    """Of the schema before anything of ours."""
    history_table: str
    history_head: str
    history_position: int
    wal_cap_bytes: int
    window_seconds: float

    @property
    def publications(self) -> tuple[str, ...]:
        """The names of both, where there are."""
        return tuple(name for name in (self.publication, self.inserts_only) if name)

    def tables(self, reach: Reach) -> tuple[TableCoverage, ...]:
        """The tables of one reach."""
        return tuple(table for table in self.coverage if table.reach is reach)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a migration in the store, under the SHA-256 of its content."""

    migration: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """A named place in the WAL, and whether its segment has reached the archive."""

    name: str
    lsn: str
    archived: str


@dataclass(frozen=True, slots=True)
class CommandRun:
    """A command that ran under the guard, as the proxy saw it. The exit code says nothing about success."""

    program: str
    """Its name only; arguments may hold secrets."""
    exit_code: int
    seconds: float
    sessions: int
    xids: tuple[str, ...]
    """Top-level transactions that committed, in order."""
    statements: tuple[str, ...]
    """Those that wrote, without bind values."""
    history_head: str
    """Afterwards."""
    changed: bool
    """History or schema is another one than before, or a transaction of it committed."""
    past_us: bool
    """History or schema changed although no session came through the proxy: no marker was written."""


@dataclass(frozen=True, slots=True)
class Guard:
    """An armed guard: what a later back-out needs to know of it."""

    id: str
    target: str
    identity: TargetIdentity
    slot: str
    """Empty: the writes are not captured."""
    slot_lsn: str
    """Where the slot begins: every commit after it is in the stream."""
    failover: bool
    publications: tuple[str, ...]
    coverage: tuple[TableCoverage, ...]
    identities: tuple[Identity, ...]
    restore_point: RestorePoint | None
    armed_at: str
    expires_at: str
    wal_cap_bytes: int
    history_table: str
    history_head: str
    history_position: int
    schema_digest: str
    """Before anything of ours; the same again once it is dropped."""
    schema_digest_armed: str
    """With the identities that arming set: what a restore to the point has."""
    files: tuple[StoredFile, ...]
    parts: tuple[Part, ...]
    unseen: tuple[str, ...]
    remains: str
    xids: tuple[str, ...] = ()
    """Top-level transactions of the migration, as the proxy saw them commit."""
    slot_snapshot: str = ""
    """`pg_current_snapshot()` with the publications committed and the slot not yet made: it tells whether a
    publication was altered since."""

    def covered(self, reach: Reach) -> int:
        """How many tables have this reach."""
        return sum(table.reach is reach for table in self.coverage)


@dataclass(frozen=True, slots=True)
class GuardHealth:
    """One look at an armed guard."""

    checks: tuple[Check, ...]
    retained_bytes: int
    lag_bytes: int
    over_cap: bool


@dataclass(frozen=True, slots=True)
class Dropped:
    """A guard that is gone from the server, looked at."""

    guard: str
    reason: str
    removed: tuple[str, ...]
    """What was there and is not any more: slot, publications, identities set back."""
    left: tuple[str, ...] = ()
    """What could not be put back as it was, and why."""
