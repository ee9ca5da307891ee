"""SQL statements as a reader understood them: pure facts about text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class StatementClass(StrEnum):
    """What a statement can do, coarsely; the proxy and triage act on this."""

    READ = "read"
    """Cannot write: plain SELECT of built-in functions, SHOW, EXPLAIN without ANALYZE, SET, ..."""
    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    SAVEPOINT = "savepoint"
    """SAVEPOINT, RELEASE, ROLLBACK TO."""
    WRITE = "write"
    """INSERT, UPDATE, DELETE, MERGE, COPY FROM, and a SELECT that calls something we do not know."""
    DDL = "ddl"
    NON_TRANSACTIONAL = "non-transactional"
    """Cannot run in a transaction block: CREATE INDEX CONCURRENTLY, VACUUM, ..."""
    DYNAMIC = "dynamic"
    """DO, CALL: what it does cannot be read from the text."""
    UNKNOWN = "unknown"
    """The parser did not understand it; treated as a write."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a script."""

    text: str
    klass: StatementClass
    tag: str
    """Command tag as PostgreSQL names it: `ALTER TABLE`, `DELETE`, ..."""
    objects: tuple[str, ...] = ()
    """Names of the relations that the statement names, as written (schema-qualified when written so)."""
    summary: str = ""
    """One short phrase for people: `hero_snapshots: DROP COLUMN source`."""
    hazards: tuple[str, ...] = ()
    """Names of the rules of `sql/rules/` that this statement meets."""

    @property
    def writes(self) -> bool:
        """Whether the statement may change data or schema."""
        return self.klass in (
            StatementClass.WRITE,
            StatementClass.DDL,
            StatementClass.NON_TRANSACTIONAL,
            StatementClass.DYNAMIC,
            StatementClass.UNKNOWN,
        )
