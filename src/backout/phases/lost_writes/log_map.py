"""Which table and column of the old schema a change in the log belongs to; pure.

The old state and the migrated one are physical siblings, so oid and attnum follow tables and columns through
renames and swaps. A table that the migration dropped and made again is matched by name, and its columns too.
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Set
from dataclasses import dataclass

from backout.merge import schema_map
from backout.merge.rows import Column, Row
from backout.model.mapping import Mapping
from backout.model.repair import RepairColumn, RepairTable
from backout.postgres.catalog import Column as CatalogColumn
from backout.postgres.catalog import Schema, Table, keys_of
from backout.postgres.names import KEPT_SCHEMA, STATE_SCHEMA


@dataclass(frozen=True, slots=True)
class LogTable:
    """One table of the source with its counterpart in the old schema."""

    target: RepairTable
    """As it is in the old schema; added columns are there under their own name."""
    source: RepairTable
    """The same columns under the names that they have in the migrated schema."""
    names: Dictionary[str, str]
    """Column of the source -> its name in `target`."""
    schema: str
    name: str
    """Of the old table, unquoted."""
    fixed: frozenset[str] = frozenset()
    """Columns of the old table that no UPDATE may set (identity ALWAYS)."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """As the merge takes them."""
        return tuple(Column(c.name, c.mapping, c.needs_value) for c in self.target.columns)

    def renamed(self, row: Row) -> dict[str, str | None]:
        """A row of the source under the names of the old schema."""
        return {self.names[name]: value for name, value in row.items() if name in self.names}


def log_tables(before: Schema, migrated: Schema) -> Dictionary[int, LogTable]:
    """Tables by the oid that the log names. A table that the migration made has none; one whose rows have
    no key that both states share has an empty key."""
    found = {}
    for table in migrated.tables:
        if table.kind in "rp" and migrated.root_of(table) is table:
            old = before.by_oid.get(table.oid) or _made_anew(table, before, migrated)
            if old is not None:
                found[table.oid] = paired(old, table, told(table))
    return found


def _made_anew(table: Table, before: Schema, migrated: Schema) -> Table | None:
    """The old table of this name, where the migration dropped it and made it again."""
    old = before.by_name.get(table.qualified)
    gone = old is not None and old.kind in "rp" and old.oid not in migrated.by_oid
    return old if gone else None


def unseen(migrated: Schema, seen: Set[int], ignore: Set[str]) -> tuple[str, ...]:
    """Tables of the migrated schema that a log does not name: `seen` are the oids of those that it does. Made
    by the migration, made anew by it, or not asked for when the guard was armed. `ignore` holds the migration
    tool's history."""
    return tuple(
        table.qualified
        for table in migrated.tables
        if table.kind in "rp"
        and migrated.root_of(table) is table
        and table.oid not in seen
        and table.qualified not in ignore
        and table.schema not in (STATE_SCHEMA, KEPT_SCHEMA)
    )


def told(source: Table) -> frozenset[str] | None:
    """The columns whose former values the log tells; None = all, or there are no updates in it."""
    if source.replica_identity not in "di":
        return None
    names = {column.attnum: column.name for column in source.columns}
    by_index = source.replica_identity == "i"
    for index in source.indexes:
        if index.identity if by_index else index.primary:
            return frozenset(names[n] for n in index.key if n in names)
    return None


def paired(old: Table, new: Table, known: frozenset[str] | None = None) -> LogTable:
    """One table of the source (`new`) with its counterpart (`old`). `known`: the columns of the source among
    which the key must be; None = any."""
    match = schema_map.by_identity if old.oid == new.oid else schema_map.by_name
    pairs = match(_shapes(old), _shapes(new))
    target, source, names = [], [], {}
    types = {column.name: column.type for column in old.columns}
    for pair in pairs:
        name = _free(pair, types)
        shape = pair.before or pair.after
        assert shape is not None
        target.append(RepairColumn(name, shape.type, pair.mapping, shape.needs_value))
        if pair.after is not None:
            names[pair.after.name] = name
            # To a reader of the migrated state every column that is there is an ordinary one.
            source.append(RepairColumn(pair.after.name, pair.after.type, Mapping.SAME))
    both = [(p.before.name, p.after.name) for p in pairs if p.before is not None and p.after is not None]
    key = _key(old, {name for name, source_name in both if known is None or source_name in known})
    back = {new_name: source_name for source_name, new_name in names.items()}
    return LogTable(
        RepairTable(old.qualified, key, tuple(target)),
        RepairTable(new.qualified, tuple(back[name] for name in key), tuple(source)),
        names,
        old.schema,
        old.name,
        frozenset(column.name for column in old.columns if column.identity == "a"),
    )


def _free(pair: schema_map.Pair, types: Dictionary[str, str]) -> str:
    """An added column may have taken the name of a dropped one: then it gets another here."""
    if pair.before is None and pair.name in types:
        return f"{pair.name} (added)"
    return pair.name


def _key(old: Table, living: set[str]) -> tuple[str, ...]:
    return next((key for key in keys_of(old) if set(key) <= living), ())


def _shapes(table: Table) -> tuple[schema_map.Shape, ...]:
    return tuple(
        schema_map.Shape(c.name, c.attnum, c.type, _needs_value(c)) for c in table.columns if not c.generated
    )


def _needs_value(column: CatalogColumn) -> bool:
    return column.not_null and not (column.default or column.identity)
