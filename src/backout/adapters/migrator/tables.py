"""Look at history tables without trusting a search path: what is there, and of which shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from backout.model.migration import HistoryRow
from backout.postgres.names import KEPT_SCHEMA, STATE_SCHEMA, qualified

_COLUMNS = """
SELECT n.nspname::text, c.relname::text, c.relkind = 'r',
       pg_catalog.array_agg(a.attname::text ORDER BY a.attnum),
       pg_catalog.array_agg(pg_catalog.format_type(a.atttypid, NULL) ORDER BY a.attnum)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname = %s
  AND (%s::text IS NULL OR n.nspname = %s) AND n.nspname <> ALL (%s)
GROUP BY n.nspname, c.relname, c.relkind ORDER BY n.nspname <> 'public', 1
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A relation that may be a tool's history: its columns with their types, without modifiers."""

    schema: str
    name: str
    ordinary: bool
    """False for views and the like, whose rows carry no transaction."""
    columns: Mapping[str, str]

    @property
    def shown(self) -> str:
        """Quoted and schema-qualified, fit for people and for SQL."""
        return qualified(self.schema, self.name)

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def find(connection: Connection[Any], name: str, schema: str | None = None) -> tuple[Table, ...]:
    """Relations called `name`, in one schema or in all but ours; `public` first."""
    ours = [STATE_SCHEMA, KEPT_SCHEMA, "pg_catalog", "information_schema"]
    rows = connection.execute(_COLUMNS, (name, schema, schema, ours)).fetchall()
    return tuple(Table(r[0], r[1], r[2], dict(zip(r[3], r[4], strict=True))) for r in rows)


def split_name(text: str) -> tuple[str | None, str]:
    """`schema.table` or `table`, with or without double quotes around the parts."""
    parts = [part.strip().strip('"') for part in text.rsplit(".", 1)]
    return (None, parts[0]) if len(parts) == 1 else (parts[0], parts[1])


def moment(table: Table, column: str) -> sql.Composable:
    """An expression for the column as RFC 3339 in UTC, or NULL where it is no time.

    `timestamp` without a zone was written with the tool's session time zone. The tools set none, so it is
    the default that the server gives to the role: `reset_val`, because our own sessions pin UTC.
    """
    kind = table.columns[column]
    value = sql.Identifier(column)
    as_text = """pg_catalog.to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    if kind == "timestamp with time zone":
        return sql.SQL(as_text).format(value)
    if kind == "timestamp without time zone":
        zone = "(SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'TimeZone')"
        zoned = sql.SQL("({} AT TIME ZONE " + zone + ")").format(value)
        return sql.SQL(as_text).format(zoned)
    return sql.SQL("NULL::text")


def rows(
    connection: Connection[Any], table: Table, name: str, applied_at: str | None, order: Iterable[str]
) -> tuple[tuple[str, str | None, str | None], ...]:
    """(name, applied_at, xid) of every row, in the given order of columns."""
    columns = (
        sql.SQL("{}::text").format(sql.Identifier(name)),
        moment(table, applied_at) if applied_at else sql.SQL("NULL::text"),
        sql.SQL("xmin::text") if table.ordinary else sql.SQL("NULL::text"),
    )
    query = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
        sql.SQL(", ").join(columns),
        table.identifier,
        sql.SQL(", ").join(sql.Identifier(column) for column in order),
    )
    return tuple((r[0], r[1], r[2]) for r in connection.execute(query).fetchall())


def numbered(found: Iterable[tuple[str, str | None, str | None]]) -> tuple[HistoryRow, ...]:
    """Rows of a history in the order given, positions from 1."""
    return tuple(HistoryRow(i, name, at, xid) for i, (name, at, xid) in enumerate(found, start=1))
