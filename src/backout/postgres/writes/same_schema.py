"""Translate the changes of a source into a target that has the same tables: nothing is mapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from backout.model.changes import (
    UNCHANGED,
    Change,
    ChangeKind,
    OldImage,
    RowChange,
    Transaction,
)
from backout.postgres.catalog import key_of, read_schema
from backout.postgres.connect import Session
from backout.postgres.writes.statements import (
    WholeRow,
    Write,
    delete_one_query,
    delete_query,
    insert_query,
    truncate_query,
    update_one_query,
    update_query,
)

Keys = Mapping[tuple[str, str], tuple[str, ...]]


def keys_of_tables(session: Session) -> Keys:
    """The columns that identify a row, for each table of the target; empty = rows have no identity."""
    return {(table.schema, table.name): key_of(table) for table in read_schema(session).tables}


class SameSchema:
    """A `Translation` (see `apply.py`) that remembers nothing, so there is nothing to forget."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def prepare(self, transactions: Sequence[Transaction]) -> None:
        """Nothing is looked up."""

    def writes(self, transaction: Transaction) -> Iterator[Write]:
        for change in transaction.changes:
            write = translate(change, self._keys)
            if write is not None:
                yield write

    def rolled_back(self) -> None:
        """Nothing to forget."""

    def committed(self) -> None:
        """Nothing to keep."""


def translate(change: Change, keys: Keys) -> Write | None:
    """The statement that repeats this change; None when it changed nothing. Pure."""
    if not isinstance(change, RowChange):
        tables = [(relation.schema, relation.name) for relation in change.relations]
        return Write(truncate_query(tables, restart_identity=change.restart_identity), (), None, change)
    relation = change.relation
    if change.kind is ChangeKind.INSERT:
        values = change.new_values()
        return Write(
            insert_query(relation.schema, relation.name, tuple(values)), tuple(values.values()), 1, change
        )
    found = _identity(change, keys.get((relation.schema, relation.name), ()))
    if change.kind is ChangeKind.DELETE:
        return _delete(change, found)
    return _update(change, found)


Identity = dict[str, str | None]


def _identity(change: RowChange, target_key: tuple[str, ...]) -> Identity | None:
    """By what to find the row: the key that the log names, else the target's, else what the old image holds;
    None = only the whole old row tells."""
    for columns in (change.relation.key, target_key):
        if columns:
            try:
                return dict(zip(columns, change.key(columns), strict=True))
            except KeyError:  # a partition has another identity than its root
                continue
    return change.old_values() if change.old_image is OldImage.KEY else None


def _delete(change: RowChange, found: Identity | None) -> Write:
    relation = change.relation
    if found is not None:
        query = delete_query(relation.schema, relation.name, tuple(found))
        return Write(query, tuple(found.values()), 1, change)
    row = change.old_values()
    return Write(delete_one_query(_cells(change, row)), tuple(row.values()), 1, change)


def _update(change: RowChange, found: Identity | None) -> Write | None:
    relation = change.relation
    values = _changed(change, found or {})
    if not values:
        return None
    columns = tuple(values)
    if found is not None:
        query = update_query(relation.schema, relation.name, columns, tuple(found))
        return Write(query, (*values.values(), *found.values()), 1, change)
    row = change.old_values()
    query = update_one_query(_cells(change, row), columns)
    return Write(query, (*values.values(), *row.values()), 1, change)


def _changed(change: RowChange, found: Identity) -> dict[str, str | None]:
    """The columns to write: not those left in TOAST, not those that are known to be as before."""
    before = change.old_values() if change.old_image is OldImage.FULL else found
    return {
        name: cell
        for name, cell in zip(change.relation.names, change.new, strict=True)
        if cell is not UNCHANGED and (name not in before or before[name] != cell)
    }


def _cells(change: RowChange, row: Mapping[str, object]) -> WholeRow:
    relation = change.relation
    types = tuple((column.name, column.type_oid) for column in relation.columns if column.name in row)
    return WholeRow(relation.schema, relation.name, types)
