"""A validation plan that works at once: which tables the newest migrations touch, and what they hold now."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from backout.ports.world import Session
from backout.postgres.asking import ask
from backout.postgres.catalog import Schema, Table, table_sizes
from backout.sql.effects import effects
from backout.sql.facts import EffectKind
from backout.sql.names import split_qualified

NEWEST = 3
"""How many of the newest applied migrations are looked at."""
_MOST_TABLES = 8
_COUNTED_BYTES = 1_000_000_000
_COUNT_SECONDS = 3
_COMMENTS = re.compile(r"/\*.*?\*/|(?:^|\s)//[^\n]*|^\s*#[^\n]*|--[^\n]*", re.DOTALL | re.MULTILINE)
_MADE = (
    r"(?:create_?table\(\s*(?:\{{[^}}]{{0,80}}?name:\s*)?|rename_?table\([^,)]*,\s*)['\"`]{name}['\"`]"
    r"|(?:create\s+table\s+(?:if\s+not\s+exists\s+)?|\brename\s+to\s+)(?:[\"\w]+\.)?\"?{name}\b"
)


@dataclass(frozen=True, slots=True)
class Source:
    """One applied migration as text. `sql` is false for the languages of the tools."""

    name: str
    texts: tuple[tuple[str, bool], ...]
    """(text, is SQL) of each of its files."""


@dataclass(frozen=True, slots=True)
class Floor:
    """What a table holds now. `rows` is None when it was not counted: too large, or not readable."""

    table: str
    """Qualified."""
    rows: int | None
    readable: bool
    made_by: str
    """The one of the looked-at migrations that made it, or empty; gone when that one is backed out."""


@dataclass(frozen=True, slots=True)
class Touched:
    """The tables that stand today, and those that the newest migration made: its down takes them away."""

    tables: tuple[tuple[Table, str], ...]
    """(table, migration that made it or empty)."""
    made_by_newest: tuple[str, ...]


def touched(newest: Sequence[Source], schema: Schema, history: str) -> Touched:
    """Tables of the catalog that these migrations (oldest first) name; the newest ones' tables first."""
    there = [t for t in schema.tables if t.has_rows or t.kind == "p"]
    there = [t for t in there if t.qualified != history and not t.is_partition]
    found: dict[str, Table] = {}
    made: dict[str, str] = {}
    for source in reversed(newest):
        for text, is_sql in source.texts:
            for table, is_made in _in_sql(text, there) if is_sql else _in_code(text, there):
                found.setdefault(table.qualified, table)
                if is_made:
                    made.setdefault(table.qualified, source.name)
    last = newest[-1].name if newest else ""
    gone = tuple(name for name, by in made.items() if by == last)
    return Touched(tuple((t, made.get(n, "")) for n, t in found.items() if n not in gone), gone)


def _in_sql(text: str, tables: Sequence[Table]) -> Iterator[tuple[Table, bool]]:
    for effect in effects(text):
        makes = effect.kind is EffectKind.CREATE_TABLE
        yield from ((table, makes) for table in _named(effect.table, tables))
        yield from ((table, False) for table in _named(effect.references, tables))
        if effect.kind is EffectKind.RENAME_TABLE:
            yield from ((table, True) for table in _named(effect.other, tables))


def _named(name: str, tables: Sequence[Table]) -> Iterator[Table]:
    parts = split_qualified(name)
    for table in tables:
        if parts and parts[-1] == table.name and (len(parts) < 2 or parts[-2] == table.schema):
            yield table


def _in_code(text: str, tables: Sequence[Table]) -> Iterator[tuple[Table, bool]]:
    """A program is not understood, only searched for names; a word too many makes a check too many."""
    bare = _COMMENTS.sub(" ", text)
    for table in tables:
        name = re.escape(table.name)
        if re.search(rf"(?<!\w){name}(?!\w)", bare):
            yield table, re.search(_MADE.format(name=name), bare, re.IGNORECASE) is not None


def largest(session: Session, schema: Schema, without: Iterable[str]) -> tuple[tuple[Table, str], ...]:
    """Something to look at when the newest migrations touch nothing that stays: the largest tables."""
    tables = {t.oid: t for t in schema.tables if t.has_rows and t.qualified not in set(without)}
    sizes = sorted(table_sizes(session, tables).values(), key=lambda size: -size.bytes)
    return tuple((tables[size.oid], "") for size in sizes[:NEWEST])


def floors(session: Session, tables: Sequence[tuple[Table, str]]) -> tuple[Floor, ...]:
    """Count each table once, within a few seconds; large ones are not counted, today or on the night."""
    chosen = list(tables[:_MOST_TABLES])
    sizes = table_sizes(session, [table.oid for table, _ in chosen])
    session.execute("SELECT pg_catalog.set_config('statement_timeout', %s, false)", (f"{_COUNT_SECONDS}s",))
    found = []
    for table, made_by in chosen:
        size = sizes.get(table.oid)
        large = size is not None and size.bytes > _COUNTED_BYTES
        answer = ask(session, _some_row(table.qualified) if large else _all_rows(table.qualified))
        cancelled = "57014" in answer.error
        counted = None if large or answer.value is None else int(answer.value)
        found.append(Floor(table.qualified, counted, not answer.error or cancelled, made_by))
    session.execute("SELECT pg_catalog.set_config('statement_timeout', '0', false)")
    return tuple(found)


def rows_of(session: Session, table: str) -> int | None:
    """How many rows a table has; None when it cannot be read."""
    answer = ask(session, _all_rows(table))
    return None if answer.value is None else int(answer.value)


def _all_rows(table: str) -> str:
    return f"SELECT count(*) FROM {table}"  # noqa: S608 - quoted by the catalog


def _some_row(table: str) -> str:
    return f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1) some"  # noqa: S608 - quoted by the catalog


@dataclass(frozen=True, slots=True)
class PlannedCheck:
    """One check to be written down."""

    key: str
    settings: tuple[tuple[str, str], ...]
    note: str = ""


def checks_of(history: str, applied: int | None, tables: Sequence[Floor]) -> tuple[PlannedCheck, ...]:
    """History, then presence and floor of each table. `applied` counts the rows of the history table."""
    planned = []
    if history:
        left = max((applied or 0) - NEWEST, 0)
        query = (("sql", _all_rows(history)), ("expect", f">= {left}"))
        note = f"{applied} now; at most the newest {NEWEST} are backed out"
        planned.append(PlannedCheck("history", query, note if applied is not None else ""))
    for floor in tables:
        planned += _of_table(floor)
    return tuple(planned)


def _of_table(floor: Floor) -> Iterator[PlannedCheck]:
    schema, name = split_qualified(floor.table)
    base = name if schema == "public" else f"{schema}_{name}"
    note = f"made by {floor.made_by}: goes when that one is backed out" if floor.made_by else ""
    yield PlannedCheck(f"{base}_present", (("regclass", floor.table), ("expect", "present")), note)
    if not floor.readable or floor.rows == 0:
        return
    if floor.rows is None:
        query, least, note = _some_row(floor.table), 1, "too large to count in an incident"
    else:
        query, least, note = _all_rows(floor.table), floor.rows, ""
    yield PlannedCheck(f"{base}_rows", (("sql", query), ("expect", f">= {least}")), note)
