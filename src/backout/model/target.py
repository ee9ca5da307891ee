"""Which database is meant, and how it is told apart from its copies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TargetIdentity:
    """The approved identity of a target. A physical copy shares `system_identifier` with its source,
    so the identity is the whole tuple and, for copies, the marker table beside it (facts: a copy
    answers every question about its identifier like the original).
    """

    system_identifier: str
    timeline: int
    database: str
    database_oid: int
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.database} @ {self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SessionIdentity:
    """What one session sees; compared within one step only (a restart changes it)."""

    target: TargetIdentity
    server_address: str
    postmaster_started: str
    server_version: int
    in_recovery: bool
    role: str


@dataclass(frozen=True, slots=True)
class CopyMarker:
    """The row in `backout.copy_marker` that every copy of ours carries and production never does."""

    copy_id: str
    of_system_identifier: str
    of_database: str
    made_at: str
    lease_until: str
