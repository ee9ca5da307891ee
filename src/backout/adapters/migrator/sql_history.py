"""History tables of plain SQL tools: one row a migration (dbmate), or the version of now (golang-migrate)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from backout.adapters.migrator import sql_files, tables
from backout.adapters.migrator.sql_files import Layout
from backout.errors import ConfigurationError
from backout.model.migration import HistoryRow

DEFAULT_TABLE = "schema_migrations"
_GOLANG_SALT = 1486364155
_NOTHING_APPLIED = -1
"""The version that golang-migrate writes when the first migration's down was interrupted."""


@dataclass(frozen=True, slots=True)
class Book:
    """Where and how the tool writes down what was applied."""

    table: tables.Table
    version: str
    applied_at: str | None
    dirty: str | None
    """With this column the table holds one row: the current version, and whether a run broke off."""

    @property
    def numeric(self) -> bool:
        return self.table.columns[self.version] in ("bigint", "integer", "numeric", "smallint")


@dataclass(frozen=True, slots=True)
class Applied:
    """What the table says: our rows, and for each name the value that stands in the table."""

    rows: tuple[HistoryRow, ...]
    stored: Mapping[str, str]


def find(connection: Connection[Any], configured: Mapping[str, str]) -> Book | None:
    """The configured table, else one shaped as dbmate or golang-migrate make it; None without one."""
    if configured:
        return _configured(connection, configured)
    for table in tables.find(connection, DEFAULT_TABLE):
        if table.columns == {"version": "bigint", "dirty": "boolean"}:
            return Book(table, "version", None, "dirty")
        if table.columns in ({"version": "character varying"}, {"version": "text"}):
            return Book(table, "version", None, None)
    return None


def _configured(connection: Connection[Any], said: Mapping[str, str]) -> Book | None:
    schema, name = tables.split_name(said.get("table", DEFAULT_TABLE))
    found = tables.find(connection, name, schema)
    if not found:
        return None
    table = found[0]
    version = said.get("version_column", "version")
    applied_at, dirty = said.get("applied_at_column"), said.get("dirty_column")
    missing = [c for c in (version, applied_at, dirty) if c and c not in table.columns]
    if missing:
        raise ConfigurationError(
            f"{table.shown} has no column {missing[0]}",
            where="backout.toml, migrations.history",
            intact="everything",
            next="correct migrations.history, then: backout doctor",
        )
    if dirty is None and table.columns.get("dirty") == "boolean":
        dirty = "dirty"
    return Book(table, version, applied_at, dirty)


def read(connection: Connection[Any], book: Book, known: Sequence[str], layout: Layout) -> Applied:
    """What was applied, oldest first. `known` are the versions on disk, in order."""
    if book.dirty:
        return _current(connection, book, known)
    found = tables.rows(connection, book.table, book.version, book.applied_at, [book.version])
    named = [(sql_files.normal(version, layout), version, at, xid) for version, at, xid in found]
    named.sort(key=lambda row: (row[2] or "", _number(row[1]), row[1]))
    rows = tables.numbered((name, at, xid) for name, _, at, xid in named)
    return Applied(rows, {name: version for name, version, _, _ in named})


def _number(version: str) -> int:
    digits = re.match(r"\d+", version)
    return int(digits.group()) if digits else 0


def _current(connection: Connection[Any], book: Book, known: Sequence[str]) -> Applied:
    """Everything on disk up to the version. The row is rewritten apart from the migration: no xid of it."""
    assert book.dirty is not None
    query = sql.SQL("SELECT {}::bigint, {} FROM {} LIMIT 1").format(
        sql.Identifier(book.version), sql.Identifier(book.dirty), book.table.identifier
    )
    row = connection.execute(query).fetchone()
    if row is None:
        return Applied((), {})
    version, dirty = int(row[0]), bool(row[1])
    names = [name for name in known if int(name) < version] + [str(version)]
    rows = tuple(
        HistoryRow(i, name, None, None, dirty and i == len(names)) for i, name in enumerate(names, start=1)
    )
    return Applied(rows, {name: name for name in names})


def forget(connection: Connection[Any], book: Book, version: str) -> None:
    """Delete the row of one version, inside the caller's transaction."""
    query = sql.SQL("DELETE FROM {} WHERE {}::text = {}").format(
        book.table.identifier, sql.Identifier(book.version), sql.Literal(version)
    )
    connection.execute(query)


def remember(connection: Connection[Any], book: Book, version: str) -> None:
    """Insert the row of one version, inside the caller's transaction."""
    columns = [sql.Identifier(book.version)]
    values: list[sql.Composable] = [sql.Literal(int(version) if book.numeric else version)]
    if book.applied_at:
        columns.append(sql.Identifier(book.applied_at))
        values.append(sql.SQL("pg_catalog.now()"))
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        book.table.identifier, sql.SQL(", ").join(columns), sql.SQL(", ").join(values)
    )
    connection.execute(query)


def set_version(connection: Connection[Any], book: Book, version: str | None, dirty: bool) -> None:
    """Replace the one row, in a transaction of its own, as golang-migrate does around every migration.

    The tool says TRUNCATE; DELETE leaves the same rows without a lock that stops every reader.
    """
    assert book.dirty is not None
    connection.execute("BEGIN")
    connection.execute(sql.SQL("DELETE FROM {}").format(book.table.identifier))
    if version is not None or dirty:
        columns = sql.SQL(", ").join([sql.Identifier(book.version), sql.Identifier(book.dirty)])
        number = _NOTHING_APPLIED if version is None else int(version)
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({}, {})").format(
            book.table.identifier, columns, sql.Literal(number), sql.Literal(dirty)
        )
        connection.execute(query)
    connection.execute("COMMIT")


def settled(connection: Connection[Any], book: Book, remaining: str | None) -> str:
    """The statement that makes `remaining` the clean version of now; empty when nothing is dirty."""
    assert book.dirty is not None
    place, dirty = book.table.identifier, sql.Identifier(book.dirty)
    marked = connection.execute(sql.SQL("SELECT 1 FROM {} WHERE {}").format(place, dirty)).fetchone()
    if marked is None:
        return ""
    if remaining is None:
        return sql.SQL("DELETE FROM {}").format(place).as_string(connection)
    return (
        sql.SQL("UPDATE {} SET {} = {}, {} = false")
        .format(place, sql.Identifier(book.version), sql.Literal(int(remaining)), dirty)
        .as_string(connection)
    )


def create(connection: Connection[Any], configured: Mapping[str, str], layout: Layout) -> None:
    """Make the table as the tool would; only ever on copies of ours."""
    schema, name = tables.split_name(configured.get("table", DEFAULT_TABLE))
    version = sql.Identifier(configured.get("version_column", "version"))
    at, dirty = configured.get("applied_at_column"), configured.get("dirty_column")
    golang = dirty is not None or (not configured and layout is Layout.PAIRS)
    kind = sql.SQL("bigint NOT NULL PRIMARY KEY" if golang else "varchar(128) PRIMARY KEY")
    columns = [sql.SQL("{} {}").format(version, kind)]
    if golang:
        columns.append(sql.SQL("{} boolean NOT NULL").format(sql.Identifier(dirty or "dirty")))
    if at:
        columns.append(sql.SQL("{} timestamptz").format(sql.Identifier(at)))
    table = sql.Identifier(schema or "public", name)
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(", ").join(columns)))


def lock_keys(database: str, book: Book) -> tuple[int, ...]:
    """The advisory locks of golang-migrate: its command line names the database with a slash in front."""
    place = (book.table.schema, book.table.name)
    return tuple(
        zlib.crc32("\0".join((name, *place)).encode()) * _GOLANG_SALT % 2**32
        for name in (f"/{database}", database)
    )
