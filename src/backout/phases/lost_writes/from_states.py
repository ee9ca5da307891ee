"""The states as the source: what the application has written since the migration, found by comparing the
database just after it with the live one, and told as changes, so that the log's translation judges them.

What was written in between and overwritten is not seen, nor a value equal to the one that the migration had
stored; a row whose key was changed looks deleted and made anew.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from backout.model.changes import (
    Change,
    ChangedColumn,
    ChangedRelation,
    ChangeKind,
    OldImage,
    ReplicaIdentity,
    RowChange,
    Transaction,
)
from backout.model.mapping import Mapping
from backout.model.repair import RepairColumn, RepairTable
from backout.phases.lost_writes.log_map import log_tables
from backout.postgres.catalog import Schema, Table, key_of
from backout.postgres.names import KEPT_SCHEMA, STATE_SCHEMA
from backout.postgres.repair import effect
from backout.postgres.repair.effect import Changed, Copies, Row

_MANY = 1 << 31
"""Counted as so many: nobody knows before they have been walked through."""
_IN_MEMORY = 16 << 20
_OURS = frozenset({STATE_SCHEMA, KEPT_SCHEMA})


@dataclass(frozen=True, slots=True)
class Compared:
    """One table of the migrated schema, as it is compared and as the log would describe it."""

    table: RepairTable
    relation: ChangedRelation


@dataclass(frozen=True, slots=True)
class StateChanges:
    """`model.changes.Changes`: walked anew it compares anew, and says the same as long as both sessions hold
    their snapshots. Of a table deletions and updates come first: a row made since may have a value that an
    old one has given up."""

    copies: Copies
    """`before` is the state just after the migration, `migrated` the live one."""
    tables: tuple[Compared, ...]
    lsn: int

    def __iter__(self) -> Iterator[Change]:
        number = 0
        for compared in self.tables:
            for change in _of_table(self.copies, compared, self.lsn):
                change_ = _numbered(change, number)
                number += 1
                yield change_

    def close(self) -> None:
        """Nothing is held."""


def transaction(copies: Copies, tables: Sequence[Compared], lsn: int) -> Transaction:
    """All changes as one transaction that ends at `lsn`."""
    changes = StateChanges(copies, tuple(tables), lsn)
    return Transaction(0, lsn, lsn, datetime.now(UTC), None, (), 0, _MANY, changes)


def compared_tables(before: Schema, migrated: Schema, ignore: frozenset[str]) -> tuple[Compared, ...]:
    """The tables that have rows with an identity; `ignore` holds the migration tool's history."""
    mapped = log_tables(before, migrated)
    found = []
    for table in _roots(migrated, ignore):
        there = mapped.get(table.oid)
        key = there.source.key if there is not None and there.source.key else key_of(table)
        if key:
            found.append(_compared(table, key))
    return tuple(found)


def without_identity(migrated: Schema, ignore: frozenset[str]) -> tuple[str, ...]:
    """Tables whose rows cannot be compared."""
    return tuple(table.qualified for table in _roots(migrated, ignore) if not key_of(table))


def altered(migrated: Schema, live: Schema) -> tuple[str, ...]:
    """Tables whose columns are others on the live side than just after the migration."""
    shapes = (
        {t.qualified: [(c.name, c.type) for c in t.columns] for t in s.tables} for s in (migrated, live)
    )
    old, new = shapes
    return tuple(name for name, columns in old.items() if new.get(name) != columns)


def _roots(schema: Schema, ignore: frozenset[str]) -> Iterator[Table]:
    for table in schema.tables:
        root = table.kind in "rp" and schema.root_of(table) is table
        if root and table.qualified not in ignore and table.schema not in _OURS:
            yield table


def _compared(table: Table, key: tuple[str, ...]) -> Compared:
    columns = [column for column in table.columns if not column.generated]
    relation = ChangedRelation(
        table.oid,
        table.schema,
        table.name,
        ReplicaIdentity.DEFAULT,
        tuple(ChangedColumn(c.name, c.type_oid, -1, c.name in key) for c in columns),
    )
    same = tuple(RepairColumn(c.name, c.type, Mapping.SAME) for c in columns)
    return Compared(RepairTable(table.qualified, key, same), relation)


def _of_table(copies: Copies, compared: Compared, lsn: int) -> Iterator[RowChange]:
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, mode="w+", encoding="utf-8") as later:
        for batch in effect.changed_rows(copies, compared.table):
            for changed in batch:
                if changed.before is None:
                    later.write(f"{json.dumps(changed.migrated)}\n")
                else:
                    yield _change(compared, changed, lsn)
        later.seek(0)
        for line in later:
            yield _change(compared, Changed(None, json.loads(line)), lsn)


def _change(compared: Compared, changed: Changed, lsn: int) -> RowChange:
    relation, before, now = compared.relation, changed.before, changed.migrated
    if now is None:
        assert before is not None
        old = tuple(before[name] if name in compared.table.key else None for name in relation.names)
        return RowChange(relation, ChangeKind.DELETE, lsn, 0, OldImage.KEY, old, ())
    kind = ChangeKind.INSERT if before is None else ChangeKind.UPDATE
    return RowChange(relation, kind, lsn, 0, OldImage.NONE, (), _cells(relation, now))


def _cells(relation: ChangedRelation, row: Row) -> tuple[str | None, ...]:
    return tuple(row[name] for name in relation.names)


def _numbered(change: RowChange, number: int) -> RowChange:
    relation, kind, lsn = change.relation, change.kind, change.commit_lsn
    return RowChange(relation, kind, lsn, number, change.old_image, change.old, change.new)
