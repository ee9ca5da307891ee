"""What was seen of a server, a project and its people on a calm day."""

from __future__ import annotations

from dataclasses import dataclass

from backout.model.people import Person
from backout.model.target import SessionIdentity


@dataclass(frozen=True, slots=True)
class Encryption:
    """How the session reaches the server."""

    protocol: str
    """`TLSv1.3`, `GSSAPI`, or empty: in clear."""
    sslmode: str
    local: bool
    """A socket, or an address of this machine."""

    @property
    def verified(self) -> bool:
        """Whether the server had to prove who it is."""
        return self.protocol == "GSSAPI" or self.sslmode in ("verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class Ownership:
    """What the role may change. Names are qualified."""

    tables: int
    of_others: tuple[str, ...]
    """Tables and views whose owner's rights the role does not have."""
    closed_schemas: tuple[str, ...]
    """Schemas with tables of its own in which it may not create."""
    large_objects: int
    """Large objects of other roles: a dump stops at one that it may not read."""


@dataclass(frozen=True, slots=True)
class OurSchemas:
    """The schemas `backout` and `backout_kept`."""

    missing: tuple[str, ...]
    unusable: tuple[str, ...]
    """There, and the role may not use them or create in them."""
    may_create: bool


@dataclass(frozen=True, slots=True)
class Archive:
    """The archiving of the log. Ages in seconds; None = never."""

    mode: str
    age: float | None
    failing: bool
    """The last attempt failed."""
    expected: float
    """`archive_timeout`; 0 = a segment may take any time to fill."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What of ours is on the server."""

    kept_tables: int
    others: tuple[str, ...]
    """Sessions, slots, publications, origins, in words."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One look at a target through one session."""

    identity: SessionIdentity
    version: str
    """`16.14`."""
    encryption: Encryption
    is_copy: bool
    size_bytes: int
    ownership: Ownership
    ours: OurSchemas
    forced: tuple[str, ...]
    """Tables whose policies hide rows from the role although it may own them (FORCE)."""
    publications: tuple[str, ...]
    """Publications FOR ALL TABLES."""
    checksums: bool
    archive: Archive
    wal_level: str
    commit_times: bool
    connections: tuple[int, int]
    """(free for this role, `max_connections`)."""
    leftovers: Leftovers
    invalid_indexes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """A migration of the history without a file on disk. `origin` names the commit that still had it."""

    name: str
    origin: str


@dataclass(frozen=True, slots=True)
class HistoryFacts:
    """The tool's history beside the files on disk."""

    table: str
    applied: int
    head: str
    dirty: tuple[str, ...]
    missing: tuple[Missing, ...]
    pending: tuple[str, ...]
    files: int


@dataclass(frozen=True, slots=True)
class PeopleFacts:
    """Who is enrolled, and what the policy demands."""

    approvals: tuple[str, ...]
    people: tuple[Person, ...]
    solo: str
    error: str
    """Why the people could not be read; empty when they could."""
    mend: str


@dataclass(frozen=True, slots=True)
class Room:
    """Space for a snapshot and its proof, in bytes."""

    directory: str
    free: int
    need: int
    whole: bool
    """False: only the tables that the down can reach will be restored, so less is needed."""
