"""How many of the values that go were written after the migration, as far as that can be known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from backout.model.loss import Basis, Figure
from backout.postgres.catalog import Column, Table
from backout.postgres.connect import Session

Names = frozenset[tuple[str, str]]
"""(qualified table as named before the down, column); an empty column stands for the whole table."""


@dataclass(frozen=True, slots=True)
class SinceMarks:
    """What is known of the moment of the migration."""

    migration_xid: str | None = None
    """Transaction of the migration, as `xid` or `xid8` shows it."""
    columns_created_by_up: Names = frozenset()
    """Columns that did not exist before the migration: nothing in them is older."""
    columns_filled_by_up: Names | None = None
    """Columns that the up's own statements wrote (UPDATE, INSERT); None = not known."""
    restored: bool = True
    """The before side was restored from a dump, so that its rows' xmin say nothing of production."""
    rows_since: Mapping[str, int] = field(default_factory=dict)
    """Rows written since, by table, counted on the target itself (see `rows_written_since`)."""

    def __hash__(self) -> int:
        return hash((self.migration_xid, self.columns_created_by_up, self.columns_filled_by_up))


def rows_written_since(session: Session, table: Table, xid: str) -> int:
    """Rows whose xmin is neither the migration's nor older: an upper bound of the rows written since.

    Reads the whole table. Rows that were deleted since are not among them.
    """
    only = sql.SQL("" if table.kind == "p" else "ONLY ")
    query = sql.SQL(
        "SELECT pg_catalog.count(*) FROM {}{} WHERE pg_catalog.age(xmin) < pg_catalog.age({}::xid)"
    ).format(only, sql.Identifier(table.schema, table.name), sql.Literal(str(int(xid) % 2**32)))
    row = session.execute(query).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


def rows_since(session: Session, marks: SinceMarks, table: Table) -> int | None:
    """The bound for one table, where there is any: counted on the target, else by xmin on a physical copy."""
    counted = marks.rows_since.get(table.qualified)
    if counted is None and not marks.restored and marks.migration_xid is not None:
        return rows_written_since(session, table, marks.migration_xid)
    return counted


def written_since(
    marks: SinceMarks, table: str, columns: Sequence[Column], values: Figure, rows: int | None
) -> Figure:
    """Of `values` in these columns, how many were written after the migration.

    Exact only when the up created the columns and filled nothing into them itself, neither by a statement
    nor by a default; else at most the cells of the rows written since.
    """
    if values.count is None:
        return Figure.unknown()
    created = all(_named(marks.columns_created_by_up, table, column) for column in columns)
    if created and not any(_filled(marks, table, column) for column in columns):
        return values
    bound = values.count if rows is None else min(values.count, rows * len(columns))
    if created or rows is not None:
        return Figure(bound, Basis.AT_MOST)
    return Figure.unknown()


def _named(names: Names, table: str, column: Column) -> bool:
    return (table, column.name) in names or (table, "") in names


def _filled(marks: SinceMarks, table: str, column: Column) -> bool:
    if column.default or column.identity or column.has_missing or marks.columns_filled_by_up is None:
        return True
    return _named(marks.columns_filled_by_up, table, column)
