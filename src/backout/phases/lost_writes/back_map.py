"""Which table and column of the migrated schema a change on the new side belongs to, going back; pure.

The two are physical siblings, as in `log_map`, but the new side is alive: whoever repairs the migration and
applies it there gives new columns the very numbers that the first one gave on the old side. So a column that
was made or changed since the way back was armed has no counterpart.
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Set
from dataclasses import dataclass, replace

from backout.model.mapping import Mapping
from backout.phases.lost_writes.log_map import LogTable, paired, told
from backout.postgres.catalog import Schema, Table


@dataclass(frozen=True, slots=True)
class BackTable:
    """One table of the new side (the old schema) with its counterpart in the migrated schema."""

    schema: str
    name: str
    """Of the migrated table, unquoted."""
    key: tuple[str, ...]
    """Columns of the migrated table; empty = rows cannot be told apart on both sides."""
    source_key: tuple[str, ...]
    """The same columns as the log names them."""
    places: Dictionary[str, str]
    """Column of the log -> column of the migrated table. What is not here has no place there."""
    computed: frozenset[str]
    """Generated columns of the source, which nobody writes; the log has them where they are published."""
    other_type: frozenset[str]
    """Columns of the log whose values may mean something else when they are read there."""
    fixed: frozenset[str]
    """Columns of the migrated table that no UPDATE may set (identity ALWAYS)."""
    lacking: bool
    """The migrated table has a column that needs a value, and nobody on the new side gives one."""
    emptied: tuple[str, str] | None
    """What a TRUNCATE of the source's table empties there; None = it is a partition that is gone."""

    @property
    def place(self) -> tuple[str, str]:
        """Schema and name of the migrated table."""
        return self.schema, self.name


def back_tables(
    new: Schema, old: Schema, changed: Set[tuple[int, int]] = frozenset()
) -> Dictionary[int, BackTable]:
    """Tables by the oid that the log of the new side names, partitions among them. A table that the
    migration dropped has none. `changed` are columns (oid, attnum) younger than the way back."""
    found = {}
    for table in new.tables:
        pair = _pair(table, new, old) if table.kind in "rp" else None
        if pair is not None:
            source, target = pair
            there = old.by_oid.get(table.oid)
            found[table.oid] = _back_table(_steady(source, changed), target, there)
    return found


def _pair(table: Table, new: Schema, old: Schema) -> tuple[Table, Table] | None:
    """Through the root, which finds the partition by itself, unless the table is no longer below it."""
    root = new.root_of(table)
    there, root_there = old.by_oid.get(table.oid), old.by_oid.get(root.oid)
    if root_there is not None and (there is None or old.root_of(there) is root_there):
        return root, root_there
    return None if there is None else (table, there)


def _steady(table: Table, changed: Set[tuple[int, int]]) -> Table:
    return replace(table, columns=tuple(c for c in table.columns if (table.oid, c.attnum) not in changed))


def _back_table(source: Table, target: Table, emptied: Table | None) -> BackTable:
    log = paired(target, source, told(source))
    mappings = {column.name: column.mapping for column in log.target.columns}
    return BackTable(
        log.schema,
        log.name,
        log.target.key,
        log.source.key,
        {theirs: ours for theirs, ours in log.names.items() if mappings[ours] is not Mapping.ADDED},
        frozenset(column.name for column in source.columns if column.generated),
        _other_type(log),
        log.fixed,
        any(c.mapping is Mapping.DROPPED and c.needs_value for c in log.target.columns),
        (emptied.schema, emptied.name) if emptied is not None else None,
    )


def _other_type(log: LogTable) -> frozenset[str]:
    there = {column.name: column for column in log.target.columns}
    return frozenset(
        column.name
        for column in log.source.columns
        if there[log.names[column.name]].mapping is Mapping.UNPROVED
    )
