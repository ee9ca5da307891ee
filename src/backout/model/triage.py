"""What `open` found out: the offending migration and what it touched."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backout.model.loss import Figure
from backout.model.migration import History, MigrationFile
from backout.model.statement import Statement
from backout.model.target import SessionIdentity


class Applied(StrEnum):
    """How far a migration came, from history, files and catalog together."""

    APPLIED = "applied"
    PARTLY = "partly applied"
    DIRTY = "failed or dirty"
    IN_PROGRESS = "in progress"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class EffectSeen:
    """One effect of a migration and whether the catalog shows it."""

    object: str
    effect: str
    present: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A migration that may be the offending one, with its evidence."""

    name: str
    applied: Applied
    evidence: str
    effects: tuple[EffectSeen, ...] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """When the migration committed, and how well that is known."""

    at: str | None
    """RFC 3339; from the commit timestamp, else what the tool recorded (the start of its transaction)."""
    xid: str | None
    lsn: str | None
    source: str
    """`commit timestamp`, `history row` or `unknown`."""


@dataclass(frozen=True, slots=True)
class Touched:
    """One table that the migration touched."""

    table: str
    rows: int
    bytes: int
    foreign_keys: int
    cascades: int
    views: int
    functions: int
    written_since: Figure


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session, prepared transaction or lock that would stand in the way of a down."""

    pid: int
    who: str
    state: str
    seconds: float
    detail: str
    """`prepared transaction <gid>` for pid 0."""


@dataclass(frozen=True, slots=True)
class InvalidIndex:
    name: str
    table: str
    ready: bool
    """True: it still rejects or costs writes, although queries do not use it."""
    unique: bool

    @property
    def note(self) -> str:
        """What it still does to writes."""
        if self.ready and self.unique:
            return "invalid, ready: still rejects writes"
        return "invalid, ready: still costs writes" if self.ready else "invalid, not ready"


@dataclass(frozen=True, slots=True)
class AffectedStatement:
    """A statement of pg_stat_statements that names a touched object."""

    query: str
    calls: int


@dataclass(frozen=True, slots=True)
class Triage:
    """The record of the first phase; everything later stands on it."""

    identity: SessionIdentity
    database_bytes: int
    history: History
    offending: tuple[str, ...]
    """Names, newest first; the last one named is the offending migration, those before it stand above."""
    candidates: tuple[Candidate, ...]
    files: tuple[MigrationFile, ...]
    """The files of `offending`, same order."""
    committed: Committed
    applied_by: str
    """Role and application name of the migration's session, where they are known; else empty."""
    up: tuple[Statement, ...]
    down: tuple[Statement, ...]
    captured: str
    """How they are known: `captured on a schema-only copy`, `read from the file`, `unknown: ...`."""
    touched: tuple[Touched, ...]
    blockers: tuple[Blocker, ...]
    invalid_indexes: tuple[InvalidIndex, ...]
    affected: tuple[AffectedStatement, ...]
    affected_note: str
    tables: int
    migrations_applied: int
    writes_per_second: float | None
    collateral: tuple[str, ...] = ()
    """Migrations that stand above the offending one and would be undone with it."""
    partly_applied: bool = False
    """Half in, half out: an up or a down broke off, or its session is still at work."""
    up_known: bool = False
    """The up was seen running on a copy: `up` is all that it changes, also when that is nothing."""
    damaged: tuple[InvalidIndex, ...] = ()
    """Invalid indexes of a migration that the history calls applied."""

    @property
    def uncaptured(self) -> bool:
        """No copy could be made to see the statements on: what is half applied may be hidden."""
        return self.captured.startswith("unknown")
