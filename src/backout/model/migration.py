"""A migration, its files, and the tool's own record of what was applied."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DownKind(StrEnum):
    """What the way back looks like in the file, before anybody ran it."""

    PRESENT = "present"
    EMPTY = "empty"
    MISSING = "missing"
    INFERRED = "inferred"
    """The tool derives the down from the up (node-pg-migrate without `exports.down`)."""
    REFUSED = "refused"
    """The author declared the migration irreversible (`exports.down = false`)."""


class FoundIn(StrEnum):
    """Where the migration's file was found."""

    WORKTREE = "worktree"
    GIT_HISTORY = "git history"
    STORE = "store"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One migration as files on disk. `sha256` covers all of its files, in order of their names."""

    name: str
    paths: tuple[str, ...]
    sha256: str
    down: DownKind
    transactional: bool | None
    """None = not known from the file; the rehearsal will tell."""
    found_in: FoundIn = FoundIn.WORKTREE
    origin: str = ""
    """For a file from the git history: the commit that still had it; else empty."""
    origins: tuple[str, ...] = ()
    """The same for each of `paths`: the files of a pair may have gone in different commits."""
    author: str = ""
    header: str = ""
    """The first comment of the file (owner, backup id, impact), at most a few lines."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One row of the tool's history table, oldest first; `position` counts from 1."""

    position: int
    name: str
    applied_at: str | None
    """RFC 3339 in UTC as the tool recorded it. Never a recovery target: it is the start of the
    transaction at best."""
    xid: str | None
    """Transaction that wrote the row (xmin), when it can still be told."""
    dirty: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """The tool's own record of what was applied, as read from the target."""

    table: str
    """Quoted, schema-qualified name, or empty when the tool keeps none."""
    rows: tuple[HistoryRow, ...]
    tool: str

    @property
    def head(self) -> HistoryRow | None:
        """The last applied migration, or None on an empty history."""
        return self.rows[-1] if self.rows else None

    def find(self, name: str) -> HistoryRow | None:
        """The row of the migration called `name`, or None."""
        return next((row for row in self.rows if row.name == name), None)
