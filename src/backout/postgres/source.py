"""One side of a comparison: its tables, and the expressions that stand for their columns."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from backout.postgres.connect import Session

Place = bytes
"""Where a row lies in its database: oid of its table (4 bytes) and ctid (6 bytes). Holds while nothing
writes there, which is so on a copy."""


@dataclass(frozen=True, slots=True)
class Source:
    """One table of one side, whose expressions stand in the same order as those of every other source."""

    oid: int
    relation: sql.Composable
    """`ONLY schema.table`."""
    key: tuple[sql.Composable, ...]
    """In comparable form; empty = the whole row is its identity."""
    row: tuple[sql.Composable, ...]
    """The compared columns as they enter the fingerprint."""
    cells: tuple[sql.Composable, ...]
    """The same columns in text form, for the comparison cell by cell."""
    extra: tuple[sql.Composable, ...] = ()
    """Columns that only this side has, in text form."""


@dataclass(frozen=True, slots=True)
class Side:
    """All sources of one side, read through one session."""

    session: Session
    sources: tuple[Source, ...]
