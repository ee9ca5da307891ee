"""What a statement does, as facts: one `Effect` per thing changed, one `Reading` per statement."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backout.model.statement import StatementClass


class EffectKind(StrEnum):
    """What happens to one object. The values are the words that people see."""

    CREATE_TABLE = "CREATE TABLE"
    DROP_TABLE = "DROP TABLE"
    RENAME_TABLE = "RENAME TO"
    ADD_COLUMN = "ADD"
    DROP_COLUMN = "DROP COLUMN"
    RENAME_COLUMN = "RENAME"
    ALTER_TYPE = "ALTER TYPE"
    SET_DEFAULT = "SET DEFAULT"
    DROP_DEFAULT = "DROP DEFAULT"
    SET_NOT_NULL = "SET NOT NULL"
    DROP_NOT_NULL = "DROP NOT NULL"
    ADD_CONSTRAINT = "ADD CONSTRAINT"
    DROP_CONSTRAINT = "DROP CONSTRAINT"
    CREATE_INDEX = "CREATE INDEX"
    DROP_INDEX = "DROP INDEX"
    CREATE_VIEW = "CREATE VIEW"
    DROP_VIEW = "DROP VIEW"
    CREATE_TYPE = "CREATE TYPE"
    ADD_VALUE = "ADD VALUE"
    DROP_TYPE = "DROP TYPE"
    CREATE_FUNCTION = "CREATE FUNCTION"
    DROP_FUNCTION = "DROP FUNCTION"
    CREATE_TRIGGER = "CREATE TRIGGER"
    DROP_TRIGGER = "DROP TRIGGER"
    ENABLE_TRIGGER = "ENABLE TRIGGER"
    DISABLE_TRIGGER = "DISABLE TRIGGER"
    CREATE_EXTENSION = "CREATE EXTENSION"
    DROP_EXTENSION = "DROP EXTENSION"
    CREATE_SCHEMA = "CREATE SCHEMA"
    DROP_SCHEMA = "DROP SCHEMA"
    CREATE_SEQUENCE = "CREATE SEQUENCE"
    DROP_SEQUENCE = "DROP SEQUENCE"
    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    TRUNCATE = "TRUNCATE"
    DYNAMIC = "runs code"
    """DO, CALL, EXECUTE: what happens cannot be read from the text."""
    METADATA = "METADATA"
    """Changes no value and takes none away: comments, grants, owners, policies, statistics, options."""
    OTHER = "OTHER"
    """Changes something that no other kind names; read `other`."""


class Trait(StrEnum):
    """Something more about an effect."""

    CASCADE = "cascade"
    CONCURRENTLY = "concurrently"
    IF_EXISTS = "if exists"
    IF_NOT_EXISTS = "if not exists"
    OR_REPLACE = "or replace"
    TEMPORARY = "temporary"
    PARTITION = "partition"
    """A table created as a partition of another (`references`)."""
    FOREIGN = "foreign"
    """A foreign table."""
    MATERIALIZED = "materialized"
    WHERE = "where"
    """Only rows that a condition picks; `WHERE true` does not count."""
    ON_CONFLICT = "on conflict"
    """The update half of an INSERT, or part of a MERGE."""
    DEFAULT = "default"
    NOT_NULL = "not null"
    GENERATED = "generated"
    USING = "using"
    UNIQUE = "unique"
    PRIMARY_KEY = "primary key"
    CHECK = "check"
    FOREIGN_KEY = "foreign key"
    EXCLUDE = "exclude"
    ACTION = "action"
    """A foreign key that changes or deletes referencing rows by itself."""
    NOT_VALID = "not valid"
    SECURITY_DEFINER = "security definer"
    DOMAIN = "domain"


def traits_of(**present: bool) -> frozenset[Trait]:
    """The traits named (in lower case) whose condition holds."""
    return frozenset(Trait[name.upper()] for name, holds in present.items() if holds)


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that one statement changes.

    `table` is the relation (or type, function, schema, ...) as written, quoted where needed, see
    `backout.sql.names`; `column` is a raw column name or empty. `other` is the second name: the new name of
    a rename, the type of an added or altered column, the name of an index, constraint, trigger or label; for
    METADATA and OTHER it says in words what is done. `references` is the table that a foreign key or a
    partition points at.
    """

    kind: EffectKind
    table: str = ""
    column: str = ""
    other: str = ""
    traits: frozenset[Trait] = frozenset()
    references: str = ""

    @property
    def cascade(self) -> bool:
        """Whether objects that depend on this one go with it."""
        return Trait.CASCADE in self.traits

    @property
    def concurrently(self) -> bool:
        return Trait.CONCURRENTLY in self.traits


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything this room knows about one statement; what the rules judge."""

    text: str
    klass: StatementClass
    tag: str
    effects: tuple[Effect, ...] = ()
    objects: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    """Names of the functions called, schema-qualified when written so, in order, each once."""
    bodies: tuple[str, ...] = ()
    """Program text inside the statement: bodies of functions and DO blocks."""
    settings: tuple[str, ...] = ()
    """Names of the configuration parameters it sets."""
    options: frozenset[str] = frozenset()
    """Words about COPY: `program`, `file`, `from`, `to`."""

    def has(self, *kinds: EffectKind) -> bool:
        """Whether any effect is of one of these kinds."""
        return any(effect.kind in kinds for effect in self.effects)
