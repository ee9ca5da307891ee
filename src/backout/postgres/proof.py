"""Prove a restored copy: all that it holds is read and compared with what the dump holds, byte for byte."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from psycopg import sql

from backout.errors import Stopped
from backout.model.check import Check, CheckState
from backout.postgres.binaries import Binaries
from backout.postgres.client import connection_environment, reading
from backout.postgres.connect import Session, open_session
from backout.postgres.dump import DUMP_SETTINGS, read_back
from backout.postgres.dump_stream import Contents, DumpedTable, read_contents
from backout.postgres.manifest import Manifest
from backout.postgres.names import qualified

# What pg_dump pins for the text of values; a COPY of ours has to pin the same.
_COPY_SETTINGS = (
    ("search_path", ""),
    ("datestyle", "ISO"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "3"),
    ("synchronize_seqscans", "off"),
    *DUMP_SETTINGS.items(),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The copy against the dump. `holds` only when every table is equal and no check failed."""

    tables_equal: int
    tables_total: int
    rows: int
    differing: tuple[str, ...]
    checks: tuple[Check, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        return self.tables_equal == self.tables_total and all(check.good for check in self.checks)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A dump and the copy restored from it."""

    directory: Path
    manifest: Manifest
    dsn: str
    binaries: Binaries
    application_name: str


def prove(
    directory: Path, manifest: Manifest, dsn: str, binaries: Binaries, *, application_name: str
) -> Comparison:
    """Read the copy at `dsn` with the program that made the dump, and compare it with the manifest.

    The source is not read again: what the dump itself holds is the measure. Raises `Stopped` when the copy
    cannot be read.
    """
    begun = time.monotonic()
    pair = _Pair(directory, manifest, dsn, binaries, application_name)
    copy = _read_copy(pair)
    tables = _in_columns_of_dump(pair, {_key(table): table for table in copy.tables})
    dumped = manifest.contents.tables
    differing = [table for table in dumped if tables.get(_key(table)) != table]
    reordered = _only_reordered(pair, differing, tables)
    differing = [table for table in differing if _key(table) not in reordered]
    names = tuple(_difference(table, tables.get(_key(table))) for table in differing)
    checks = (
        _tables_check(len(dumped), names, _unexpected(pair, tables)),
        *_order_check(reordered),
        _sequences_check(manifest.contents, copy),
        _objects_check(manifest.contents, copy),
        _source_checksums_check(manifest),
    )
    return Comparison(
        tables_equal=len(dumped) - len(differing),
        tables_total=len(dumped),
        rows=sum(table.rows for table in dumped),
        differing=names,
        checks=checks,
        seconds=time.monotonic() - begun,
    )


def _key(table: DumpedTable) -> tuple[str, str]:
    return table.schema, table.name


def _read_copy(pair: _Pair, unordered: Collection[tuple[str, str]] = ()) -> Contents:
    """What the copy holds, as a dump of it would hold it; our own marker is no part of the source."""
    arguments = [
        *(pair.binaries.program("pg_dump"), "--data-only", "--format=plain", "--no-password"),
        "--exclude-table=backout.copy_marker",
    ]
    settings = {**DUMP_SETTINGS, **_money(pair)}
    with (
        connection_environment(pair.dsn, pair.application_name, settings) as environment,
        reading(arguments, environment) as run,
    ):
        try:
            contents = read_contents(run.stream, unordered)
        finally:
            ended = run.ended()
            if ended.exit_code != 0:
                raise Stopped(
                    f"the copy cannot be read: pg_dump {ended.died}: {ended.message}",
                    where="the scratch server",
                    intact="the source, the dump and the copy",
                    next="backout resume",
                )
    return contents


def _money(pair: _Pair) -> dict[str, str]:
    """The source's locale of money, where the scratch server knows it."""
    with open_session(pair.dsn, pair.application_name) as session:
        try:
            session.execute(
                "SELECT set_config('lc_monetary', %s, false)", (pair.manifest.origin.lc_monetary,)
            )
        except psycopg.Error:
            return {}
    return {"lc_monetary": pair.manifest.origin.lc_monetary}


def _in_columns_of_dump(
    pair: _Pair, tables: dict[tuple[str, str], DumpedTable]
) -> dict[tuple[str, str], DumpedTable]:
    """Read again, in the column order of the dump, what the copy holds in another order (a table that was
    attached to its parent later has its columns in the parent's order after a restore)."""
    again = [
        table
        for table in pair.manifest.contents.tables
        if (found := tables.get(_key(table))) is not None
        and found.columns != table.columns
        and sorted(found.columns) == sorted(table.columns)
    ]
    if not again:
        return tables
    with open_session(pair.dsn, pair.application_name) as session:
        for name, value in (*_COPY_SETTINGS, *_money(pair).items()):
            session.execute("SELECT set_config(%s, %s, false)", (name, value))
        return tables | {_key(table): _copy_out(session, table) for table in again}


def _copy_out(session: Session, table: DumpedTable) -> DumpedTable:
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    command = sql.SQL("COPY {} ({}) TO STDOUT").format(sql.Identifier(table.schema, table.name), columns)
    content, rows = hashlib.sha256(), 0
    with session.cursor().copy(command) as copy:
        for row in copy:
            content.update(row)
            rows += 1
    return replace(table, rows=rows, sha256=content.hexdigest())


def _only_reordered(
    pair: _Pair, differing: list[DumpedTable], tables: dict[tuple[str, str], DumpedTable]
) -> frozenset[tuple[str, str]]:
    """Of the tables that differ, those whose rows are all the same, in another order (rows that went
    through a partition root, where the partition depends on the server)."""
    asked = [
        _key(table)
        for table in differing
        if (found := tables.get(_key(table))) is not None
        and (found.rows, found.columns) == (table.rows, table.columns)
    ]
    if not asked:
        return frozenset()
    dumped = {_key(table): table for table in read_back(pair.directory, pair.binaries, asked).tables}
    copied = {_key(table): table for table in _read_copy(pair, asked).tables}
    return frozenset(key for key in asked if dumped[key] == copied.get(key))


def _difference(table: DumpedTable, found: DumpedTable | None) -> str:
    name = qualified(table.schema, table.name)
    if found is None:
        return f"{name}: not in the copy"
    if sorted(found.columns) != sorted(table.columns):
        return f"{name}: other columns in the copy"
    if found.rows != table.rows:
        return f"{name}: {found.rows} rows in the copy, {table.rows} in the dump"
    return f"{name}: the same number of rows, other contents"


def _unexpected(pair: _Pair, tables: dict[tuple[str, str], DumpedTable]) -> tuple[str, ...]:
    """Tables of the copy that hold rows and are not in the dump."""
    known = {_key(table) for table in pair.manifest.contents.tables}
    extra = (table for key, table in sorted(tables.items()) if key not in known and table.rows)
    return tuple(
        f"{qualified(table.schema, table.name)}: {table.rows} rows, none in the dump" for table in extra
    )


def _tables_check(total: int, differing: tuple[str, ...], unexpected: tuple[str, ...]) -> Check:
    wrong = differing + unexpected
    if not wrong:
        return Check("contents", CheckState.PASS, f"{total} tables equal to the dump, byte for byte")
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    return Check("contents", CheckState.FAIL, "; ".join(wrong[:5]) + more, "backout snapshot take")


def _order_check(reordered: frozenset[tuple[str, str]]) -> tuple[Check, ...]:
    if not reordered:
        return ()
    names = ", ".join(qualified(*key) for key in sorted(reordered))
    return (Check("row order", CheckState.WARN, f"the same rows in another order: {names}"),)


def _sequences_check(dumped: Contents, copied: Contents) -> Check:
    there = {sequence.name: sequence for sequence in copied.sequences}
    wrong = [sequence.name for sequence in dumped.sequences if there.get(sequence.name) != sequence]
    if not wrong:
        return Check("sequences", CheckState.PASS, f"{len(dumped.sequences)} equal")
    return Check("sequences", CheckState.FAIL, f"differ: {', '.join(wrong[:5])}", "backout snapshot take")


def _objects_check(dumped: Contents, copied: Contents) -> Check:
    pair = [(side.large_objects, side.large_objects_sha256) for side in (dumped, copied)]
    if pair[0] == pair[1]:
        return Check("large objects", CheckState.PASS, f"{dumped.large_objects} equal")
    detail = f"{copied.large_objects} in the copy, {dumped.large_objects} in the dump, or other contents"
    return Check("large objects", CheckState.FAIL, detail, "backout snapshot take")


def _source_checksums_check(manifest: Manifest) -> Check:
    """What no dump can show: a value that the source itself read wrongly from its disk."""
    if manifest.origin.data_checksums:
        return Check("source checksums", CheckState.PASS, "the source checks its pages when it reads them")
    detail = "the source has no data checksums: corruption that it returned itself cannot be excluded"
    return Check("source checksums", CheckState.WARN, detail)
