"""The nouns of a schema as the catalog holds it, and the key by which rows of a table are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from backout.postgres.names import qualified


@dataclass(frozen=True, slots=True)
class Column:
    """One living column. `attnum` follows a column through renames within one database and its clones."""

    attnum: int
    name: str
    type: str
    """As `format_type` writes it, qualified: `character varying(80)`, `app.mood`."""
    type_oid: int
    """For an array its own type, not the element's."""
    not_null: bool
    default: str
    """Default or generation expression; empty = none."""
    generated: str
    """`s` stored, `v` virtual, empty = an ordinary column."""
    identity: str
    """`a` always, `d` by default, empty = none."""
    collation: str
    has_missing: bool
    """Rows older than the column take its value from the catalog (ADD COLUMN with a constant default)."""
    storage: str
    privileges: str
    comment: str


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint of a table; NOT NULL is a flag of the column on every version."""

    name: str
    kind: str
    """`p` primary key, `u` unique, `f` foreign key, `c` check, `x` exclusion, `t` constraint trigger."""
    definition: str
    """Without `NOT VALID`, which `validated` says."""
    validated: bool
    comment: str


@dataclass(frozen=True, slots=True)
class Index:
    """An index of a table or materialized view."""

    oid: int
    name: str
    definition: str
    valid: bool
    ready: bool
    primary: bool
    unique: bool
    immediate: bool
    plain: bool
    """Neither partial nor over expressions."""
    key: tuple[int, ...]
    """attnums of the key columns, in index order; 0 stands for an expression."""
    identity: bool
    """This index is the replica identity."""
    comment: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table, partitioned table, foreign table, view or materialized view."""

    oid: int
    schema: str
    name: str
    kind: str
    """`relkind`: `r`, `p`, `f`, `v`, `m`."""
    persistence: str
    """`p` permanent, `u` unlogged."""
    owner: str
    privileges: str
    comment: str
    replica_identity: str
    identity_lent: bool
    """A way back of ours has set FULL in place of the default, for as long as it is armed."""
    row_security: bool
    force_row_security: bool
    options: str
    parents: tuple[int, ...]
    """oids of the partitioned table this is a leaf of, or of the tables it inherits from."""
    is_partition: bool
    bound: str
    partition_key: str
    definition: str
    """The query of a view or materialized view."""
    columns: tuple[Column, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    indexes: tuple[Index, ...] = ()

    @property
    def qualified(self) -> str:
        """`schema.name`, quoted where needed: for people, for SQL, and the name used in losses."""
        return qualified(self.schema, self.name)

    @property
    def has_rows(self) -> bool:
        """Whether it stores rows of its own that only it has."""
        return self.kind == "r"


@dataclass(frozen=True, slots=True)
class Definition:
    """Any other object: all that can be said of it is its kind, its name and its definition."""

    kind: str
    """`function`, `trigger`, `type`, `sequence`, `policy`, `extension`, `schema`, `rule`, …"""
    name: str
    """Qualified; functions with their argument types."""
    table: str
    """Qualified name of the table it belongs to; empty = none."""
    text: str
    owner: str
    privileges: str
    comment: str


@dataclass(frozen=True)  # no slots: the two lookups are computed once
class Schema:
    """Everything users made in one database, ours and the extensions' objects apart."""

    tables: tuple[Table, ...]
    views: tuple[Table, ...]
    """Views and materialized views."""
    others: tuple[Definition, ...]
    server_version: int

    @cached_property
    def by_oid(self) -> Mapping[int, Table]:
        """Tables and views by oid."""
        return {relation.oid: relation for relation in (*self.tables, *self.views)}

    @cached_property
    def by_name(self) -> Mapping[str, Table]:
        """Tables and views by qualified name (quoted where needed)."""
        return {relation.qualified: relation for relation in (*self.tables, *self.views)}

    def root_of(self, table: Table) -> Table:
        """The topmost partitioned table above a partition; the table itself when it is none."""
        while table.is_partition and table.parents and table.parents[0] in self.by_oid:
            table = self.by_oid[table.parents[0]]
        return table


def keys_of(table: Table) -> tuple[tuple[str, ...], ...]:
    """All column sets that identify a row: the primary key first, then unique immediate indexes, neither
    partial nor over expressions, whose columns are all NOT NULL (oldest index first).

    Columns within a key stand in attnum order, so that both sides of a comparison agree.
    """
    columns = {column.attnum: column for column in table.columns}
    keys: list[tuple[str, ...]] = []
    for index in sorted(table.indexes, key=lambda i: (not i.primary, i.oid)):
        sound = index.unique and index.immediate and index.plain and index.valid
        if not sound or any(n not in columns or not columns[n].not_null for n in index.key):
            continue
        keys.append(tuple(columns[n].name for n in sorted(index.key)))
    return tuple(keys)


def key_of(table: Table) -> tuple[str, ...]:
    """The columns that identify a row (see `keys_of`); empty = rows of this table have no identity."""
    keys = keys_of(table)
    return keys[0] if keys else ()
