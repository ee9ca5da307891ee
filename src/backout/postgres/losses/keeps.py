"""What has to be kept of each table, from what it was seen to lose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backout.model.loss import Loss, LossKind
from backout.model.plan import Keep, KeepHow
from backout.postgres.catalog import Table
from backout.postgres.losses.groups import Group


@dataclass(frozen=True, slots=True)
class Seen:
    """One touched table and its losses."""

    group: Group
    key: tuple[str, ...]
    """Names before; columns that live on where the table has such an identity. Empty = no identity."""
    rewritten: bool
    """It lies in a new file, or a partition is gone: triggers saw nothing of that."""
    losses: tuple[Loss, ...]
    partitions_gone: tuple[Table, ...] = ()
    """Set when these are all that triggers do not see: each is kept whole, and not the table above it."""


def keeps_of(seen: Seen) -> Iterator[Keep]:
    """Whole table when it is dropped, truncated or rewritten with losses of rows; otherwise the columns
    that go or are retyped, and beside them the rows that statements delete or change."""
    kinds = {loss.kind for loss in seen.losses}
    rows_go = LossKind.ROWS_GONE in kinds
    retyped = {p.before.name for p in seen.group.living if p.retyped}
    changed = [loss.column for loss in seen.losses if loss.kind is LossKind.VALUES_CHANGED]
    by_statement = [name for name in changed if name not in retyped]
    if rows_go and seen.partitions_gone and not retyped:
        yield from (_whole(seen, partition) for partition in seen.partitions_gone)
    elif LossKind.TABLE_GONE in kinds or (seen.rewritten and (rows_go or by_statement)):
        yield _keep(seen, KeepHow.WHOLE_TABLE, _all_columns(seen))
        return
    columns = [loss.column for loss in seen.losses if loss.kind is LossKind.COLUMN_GONE]
    columns += [name for name in changed if name in retyped]
    if columns:
        yield _keep(seen, KeepHow.COLUMNS, tuple(columns))
    if rows_go or by_statement:
        yield _keep(seen, KeepHow.CHANGED_ROWS, _all_columns(seen))


def _whole(seen: Seen, partition: Table) -> Keep:
    names = tuple(column.name for column in partition.columns if not column.generated)
    return Keep(partition.qualified, partition.oid, KeepHow.WHOLE_TABLE, seen.key, names)


def _keep(seen: Seen, how: KeepHow, columns: tuple[str, ...]) -> Keep:
    rest = columns if how is KeepHow.WHOLE_TABLE else tuple(name for name in columns if name not in seen.key)
    return Keep(seen.group.name, seen.group.root.oid, how, seen.key, rest)


def _all_columns(seen: Seen) -> tuple[str, ...]:
    return tuple(column.name for column in seen.group.root.columns if not column.generated)
