"""Catch deleted and changed rows by statement triggers that live only inside the tool's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql

from backout.postgres.names import KEPT_SCHEMA
from backout.postgres.proxy.tables import Column, Table

OPERATION, CHANGED = "backout_op", "backout_changed"
"""Columns of ours in a table of caught rows: `D` or `U`, and the names of the columns that changed."""

_BODY = """
DECLARE seen bigint;
BEGIN
{insert}
  SELECT pg_catalog.count(*) FROM backout_old INTO seen;
  PERFORM pg_catalog.set_config({counter},
    (coalesce(nullif(pg_catalog.current_setting({counter}, true), ''), '0')::bigint + seen)::text, true);
  RETURN NULL;
END"""


@dataclass(frozen=True, slots=True)
class Capture:
    """Where the rows of one table (and of what inherits from it) are caught.

    `table` is the table before the first write; all names are those of then, whatever the tool renames.
    `stored` are the columns whose image before is kept beside the key; every other column is only watched
    for changes. Columns that the transaction itself added are of no interest.
    """

    table: Table
    kept: str
    key: tuple[str, ...]
    stored: tuple[str, ...]

    @property
    def where(self) -> sql.Identifier:
        return sql.Identifier(KEPT_SCHEMA, self.kept)

    @property
    def counter(self) -> str:
        """A setting of this transaction that counts the rows the triggers saw."""
        return f"backout.seen_{self.kept}"

    def function(self, event: str) -> sql.Identifier:
        return sql.Identifier(KEPT_SCHEMA, f"{self.kept[:56]}_{event.lower()}")


def text(composed: sql.Composable) -> str:
    """The text of a composed statement (our statements hold identifiers and ASCII literals only)."""
    return composed.as_string(None)


def columns(names: Iterable[str]) -> sql.Composed:
    """Quoted names with commas between them."""
    return sql.SQL(", ").join(map(sql.Identifier, names))


def stored(column: Column) -> sql.Composable:
    """A column as it is kept. A type or collation of the user's is kept as its text: a kept table that
    depended on it would forbid the down to drop it, or lose its column to DROP ... CASCADE."""
    name = sql.Identifier(column.name)
    if column.built_in:
        return name
    return sql.SQL('{0}::pg_catalog.text COLLATE pg_catalog."default"').format(name)


def install(capture: Capture, members: Sequence[Table], now: Table) -> list[str]:
    """Create the table for caught rows, the functions and one pair of triggers per member.

    A trigger fires for the table that the statement names, so partitions need their own.
    """
    present = {column.name: column for column in now.columns.values()}
    aliased = (
        sql.SQL(", {} AS {}").format(stored(present[current]), sql.Identifier(name))
        for name, current in _there(capture, now)
    )
    make = sql.SQL(
        "CREATE TABLE {} AS SELECT NULL::pg_catalog.text AS {}, NULL::pg_catalog.text[] AS {}{} FROM {}"
        " WITH NO DATA"
    ).format(
        capture.where,
        sql.Identifier(OPERATION),
        sql.Identifier(CHANGED),
        sql.Composed(list(aliased)),
        sql.SQL(now.name),
    )
    return [
        text(make),
        *functions(capture, now),
        *(text(_trigger(capture, member, event)) for member in members for event in ("DELETE", "UPDATE")),
    ]


def _trigger(capture: Capture, member: Table, event: str) -> sql.Composed:
    tables = "OLD TABLE AS backout_old" + (" NEW TABLE AS backout_new" if event == "UPDATE" else "")
    return sql.SQL(
        "CREATE TRIGGER {} AFTER {} ON {} REFERENCING {} FOR EACH STATEMENT EXECUTE FUNCTION {}()"
    ).format(
        # the name sorts first: triggers of a table fire in the order of their names
        sql.Identifier(f" backout {capture.kept[:40]} {event.lower()}"),
        sql.SQL(event),
        sql.SQL(member.name),
        sql.SQL(tables),
        capture.function(event),
    )


def functions(capture: Capture, now: Table) -> list[str]:
    """(Re)create the trigger functions for the columns that the table has now."""
    updated = _updated if capture.key else _updated_without_key
    return [
        text(_function(capture, "DELETE", _deleted(capture, now))),
        text(_function(capture, "UPDATE", updated(capture, now))),
    ]


def _function(capture: Capture, event: str, insert: sql.Composed) -> sql.Composed:
    body = sql.SQL(_BODY).format(insert=insert, counter=sql.Literal(capture.counter))
    return sql.SQL(
        "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql"
        " SET search_path = pg_catalog SET extra_float_digits = '1' SET datestyle = 'ISO, MDY'"
        " SET intervalstyle = 'postgres' AS {}"
    ).format(capture.function(event), sql.Literal(body.as_string(None)))


def _there(capture: Capture, now: Table) -> list[tuple[str, str]]:
    """(name of then, name of now) of the columns of a caught row that the table still has."""
    names = _names(capture, now)
    return [(name, names[name]) for name in (*capture.key, *capture.stored) if name in names]


def _names(capture: Capture, now: Table) -> dict[str, str]:
    """Name of now by name of then, for columns that hold values."""
    return {
        column.name: now.columns[number].name
        for number, column in capture.table.columns.items()
        if number in now.columns and not column.generated
    }


def _insert(capture: Capture, now: Table) -> sql.Composed:
    names = [OPERATION, CHANGED, *(name for name, _ in _there(capture, now))]
    return sql.SQL("  INSERT INTO {} ({})").format(capture.where, columns(names))


def _selected(capture: Capture, now: Table) -> sql.Composed:
    there = [sql.SQL(", {}").format(sql.Identifier("o", current)) for _, current in _there(capture, now)]
    return sql.Composed(there)


def _deleted(capture: Capture, now: Table) -> sql.Composed:
    return sql.SQL("{} SELECT 'D', NULL{} FROM backout_old o;").format(
        _insert(capture, now), _selected(capture, now)
    )


def _updated(capture: Capture, now: Table) -> sql.Composed:
    """Rows of which a cell changed. Compared as text: json, point and others have no equality, and
    operators of extensions are out of sight."""
    names = _names(capture, now)
    key = [names[name] for name in capture.key if name in names]
    same = sql.SQL("n.{0}::pg_catalog.text = o.{0}::pg_catalog.text")
    differs = sql.SQL(
        "CASE WHEN n.{key} IS NULL OR o.{now}::pg_catalog.text IS DISTINCT FROM n.{now}::pg_catalog.text"
        " THEN {then} END"
    )
    join = sql.SQL(" AND ").join(same.format(sql.Identifier(name)) for name in key)
    changed = sql.SQL(", ").join(
        differs.format(now=sql.Identifier(current), then=sql.Literal(name), key=sql.Identifier(key[0]))
        for name, current in names.items()
    )
    return sql.SQL(
        "{} SELECT 'U', c.names{} FROM backout_old o LEFT JOIN backout_new n ON {},"
        " LATERAL (SELECT pg_catalog.array_remove(ARRAY[{}]::pg_catalog.text[], NULL) AS names) c"
        " WHERE c.names <> '{{}}';"
    ).format(_insert(capture, now), _selected(capture, now), join, changed)


def _updated_without_key(capture: Capture, now: Table) -> sql.Composed:
    """Without a key nobody can tell which new row was which old one: every cell counts as changed."""
    return sql.SQL("{} SELECT 'U', {}::pg_catalog.text[]{} FROM backout_old o;").format(
        _insert(capture, now), sql.Literal(list(_names(capture, now))), _selected(capture, now)
    )


def changed_cells(capture: Capture, counted: frozenset[str]) -> sql.Composed:
    """Count the cells that changed, each once however often it was changed.

    Left out are the columns `counted` elsewhere, and rows that were deleted in the end: those count whole.
    """
    cell = [
        sql.SQL("cell.name"),
        *(sql.SQL("k.{}::pg_catalog.text").format(sql.Identifier(n)) for n in capture.key),
    ]
    same = [
        sql.SQL("d.{0}::pg_catalog.text = k.{0}::pg_catalog.text").format(sql.Identifier(n))
        for n in capture.key
    ]
    once = sql.SQL("DISTINCT ({})").format(sql.SQL(", ").join(cell)) if capture.key else sql.SQL("*")
    deleted = sql.SQL(" AND NOT EXISTS (SELECT FROM {} d WHERE d.{} = 'D' AND {})").format(
        capture.where, sql.Identifier(OPERATION), sql.SQL(" AND ").join(same)
    )
    return sql.SQL(
        "SELECT pg_catalog.count({})::pg_catalog.text FROM {} k, pg_catalog.unnest(k.{}) cell (name)"
        " WHERE k.{} = 'U' AND cell.name <> ALL (ARRAY[{}]::pg_catalog.text[]){}"
    ).format(
        once,
        capture.where,
        sql.Identifier(CHANGED),
        sql.Identifier(OPERATION),
        sql.SQL(", ").join(map(sql.Literal, sorted(counted))),
        deleted if capture.key else sql.SQL(""),
    )


def cells(names: Sequence[str]) -> sql.Composed:
    """Counts the non-NULL cells of these columns."""
    counted = [sql.SQL("0 * pg_catalog.count(*)").format()]  # all columns may be computed ones
    counted += [sql.SQL("pg_catalog.count({})").format(sql.Identifier(name)) for name in names]
    return sql.SQL(" + ").join(counted)


def remove(capture: Capture) -> list[str]:
    """Take the triggers away again, wherever their tables are by now; the caught rows stay."""
    drop = sql.SQL("DROP FUNCTION IF EXISTS {}() CASCADE")
    return [text(drop.format(capture.function(event))) for event in ("DELETE", "UPDATE")]
