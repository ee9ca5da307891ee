"""What is read before a guard is planned, and the small records of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backout.model.migration import History
from backout.model.target import TargetIdentity
from backout.postgres.capabilities import Right
from backout.postgres.capture.platforms import Platform
from backout.postgres.capture.slots import SlotState
from backout.postgres.capture.tables import TableFacts


@dataclass(frozen=True, slots=True)
class GuardFacts:
    """The target as it stands; nothing of it was changed to learn this."""

    identity: TargetIdentity
    owner_rights: Mapping[str, Right]
    """Of the role that owns the tables and runs the migration."""
    log_rights: Mapping[str, Right]
    """Of the role for slots, restore points and the WAL; often the same."""
    wal_level: str
    keep_limit_bytes: int
    """`max_slot_wal_keep_size`; -1 = none."""
    has_failover: bool
    standbys: int
    tables: tuple[TableFacts, ...]
    unseen: tuple[tuple[str, int, str], ...]
    platform: Platform | None
    history: History
    schema_digest: str


@dataclass(frozen=True, slots=True)
class Made:
    """What one step of arming made."""

    what: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SlotMade:
    """The slot, where it begins, and what was committed when it was about to be made."""

    lsn: str
    snapshot: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """The migration files that are in the store now: (migration, path, SHA-256 of the content)."""

    files: tuple[tuple[str, str, str], ...]
    schema_digest: str
    """Of the armed database."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at the server for an armed guard."""

    slot: SlotState | None
    same_server: bool
    members: frozenset[int]
    """oids that the publications name now."""
    publications: int
    """How many of the publications are there."""
    broken: tuple[tuple[int, str], ...]
    """Published tables that lost their identity: updates of the application fail there."""
    tables: frozenset[int]
    """oids of the covered tables that still exist."""
    detached: tuple[str, ...]
    """Leaves of the time of arming that belong to no published table any more."""
    standbys: int
