"""What triage read: history, files, catalog, activity; the decisions are in `decide.py`."""

from __future__ import annotations

from dataclasses import dataclass

from backout.model.migration import History, MigrationFile
from backout.model.statement import Statement
from backout.model.target import SessionIdentity
from backout.model.triage import (
    AffectedStatement,
    Applied,
    Blocker,
    Committed,
    EffectSeen,
    InvalidIndex,
    Touched,
)


@dataclass(frozen=True, slots=True)
class PendingMigration:
    """A migration on disk without a history row, and which of its effects the catalog shows."""

    file: MigrationFile
    effects: tuple[EffectSeen, ...]
    running: tuple[Blocker, ...]
    """Sessions that are changing the schema right now and name one of its objects."""
    dirty: bool = False
    """The tool has marked it: a run of it broke off."""

    @property
    def applied(self) -> Applied:
        """How far it came: pure reading of the evidence."""
        if self.running:
            return Applied.IN_PROGRESS
        if self.dirty:
            return Applied.DIRTY
        if any(effect.present for effect in self.effects):
            return Applied.PARTLY
        return Applied.PENDING


@dataclass(frozen=True, slots=True)
class Captured:
    """The statements of up and down as the real tool sent them to a schema-only copy."""

    up: tuple[Statement, ...]
    down: tuple[Statement, ...]
    how: str
    stuck: tuple[str, ...] = ()
    """Statements of the down that do not run as things are: what they take is gone already."""
    up_known: bool = False
    """The up ran to its end there: `up` is all that it changes, also when that is nothing."""


@dataclass(frozen=True, slots=True)
class Half:
    """What the catalog shows of a migration that the history calls applied."""

    effects: tuple[EffectSeen, ...] = ()
    broke_off: bool = False
    """A down of it took a part and ended."""
    damaged: tuple[InvalidIndex, ...] = ()
    """Its indexes that are invalid."""


@dataclass(frozen=True, slots=True)
class Ground:
    """History, files and activity, read in one look."""

    identity: SessionIdentity
    database_bytes: int
    history: History
    files: tuple[MigrationFile, ...]
    pending: tuple[PendingMigration, ...]
    blockers: tuple[Blocker, ...]
    invalid_indexes: tuple[InvalidIndex, ...]
    tables: int
    damaged: tuple[tuple[str, InvalidIndex], ...] = ()
    """(newest applied migrations, invalid indexes that their files name)."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the offending migration touched; read after it is named."""

    committed: Committed
    applied_by: str
    touched: tuple[Touched, ...]
    affected: tuple[AffectedStatement, ...]
    affected_note: str
    writes_per_second: float | None
