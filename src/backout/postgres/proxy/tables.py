"""The tables of a database as the commit gate compares them: columns, file, rows changed by this session."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backout.postgres.names import KEPT_SCHEMA, STATE_SCHEMA, qualified, quoted
from backout.postgres.proxy.policy import Injected

# relfilenode: TRUNCATE and rewrites change it. The counters are of this session, earlier transactions
# included, so only differences mean anything.
_QUERY = f"""
SELECT c.oid::text, n.nspname, c.relname, c.relfilenode::text,
       pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)::text,
       pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)::text,
       (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attnum, a.attname,
                 pg_catalog.format_type(a.atttypid, a.atttypmod), a.attgenerated <> '',
                 y.typnamespace = 'pg_catalog'::pg_catalog.regnamespace
                 AND NOT EXISTS (SELECT FROM pg_catalog.pg_collation l WHERE l.oid = a.attcollation
                                 AND l.collnamespace <> 'pg_catalog'::pg_catalog.regnamespace)))
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)::text,
       (SELECT pg_catalog.json_agg(i.inhparent::bigint) FROM pg_catalog.pg_inherits i
        WHERE i.inhrelid = c.oid)::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', '{STATE_SCHEMA}', '{KEPT_SCHEMA}')"""  # noqa: S608 - two names of ours


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `generated` ones are computed and hold no value of their own."""

    name: str
    type: str
    generated: bool
    built_in: bool = True
    """Type and collation are the system's: whatever the tool drops, they stay."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table at one moment of a transaction."""

    oid: int
    name: str
    """Qualified, quoted where needed."""
    bare: str
    """The name without its schema, unquoted."""
    filenode: int
    deleted: int
    updated: int
    columns: Mapping[int, Column]
    """By attribute number: a renamed column keeps its number, a re-added one gets a new one."""
    parents: tuple[int, ...]

    @property
    def attributes(self) -> str:
        """The attribute list that is compared between rehearsal and target; order of columns left out."""
        return ", ".join(sorted(f"{quoted(c.name)} {c.type}" for c in self.columns.values()))

    @property
    def names(self) -> dict[str, int]:
        """Attribute number by column name."""
        return {column.name: number for number, column in self.columns.items()}


Tables = Mapping[int, Table]
"""All ordinary and partitioned tables of the database, by oid."""


def read_tables(injected: Injected) -> Tables:
    """Every table but the system's, temporary ones and ours, as this transaction sees it."""
    return {table.oid: table for table in map(_table, injected.rows(_QUERY))}


def _table(row: tuple[str | None, ...]) -> Table:
    oid, schema, name, filenode, deleted, updated, columns, parents = (value or "" for value in row)
    return Table(
        int(oid),
        qualified(schema, name),
        name,
        int(filenode),
        int(deleted or 0),
        int(updated or 0),
        {number: Column(*rest) for number, *rest in json.loads(columns or "[]")},
        tuple(json.loads(parents or "[]")),
    )


def named(tables: Tables, name: str) -> Table | None:
    """The table of a qualified, quoted name, or None."""
    wanted = canonical(name)
    return next((table for table in tables.values() if table.name == wanted), None)


def canonical(name: str) -> str:
    """A qualified name with each part quoted only where needed."""
    return ".".join(quoted(part) for part in parts(name))


def parts(name: str) -> tuple[str, ...]:
    """The parts of a dotted name, unquoted, folded to lower case where they were not quoted."""
    found: list[str] = []
    current, rest = "", name.strip()
    while rest:
        if rest[0] == '"':
            end = 1
            while (end := rest.index('"', end)) + 1 < len(rest) and rest[end + 1] == '"':
                end += 2
            current += rest[1:end].replace('""', '"')
            rest = rest[end + 1 :]
        elif rest[0] == ".":
            found.append(current)
            current, rest = "", rest[1:]
        else:
            current += rest[0].lower()
            rest = rest[1:]
    return (*found, current)


def family(tables: Tables, root: int) -> tuple[int, ...]:
    """A table and everything that inherits from it (partitions too), the table first."""
    found = [root]
    for oid in found:
        found.extend(t.oid for t in tables.values() if oid in t.parents and t.oid not in found)
    return tuple(found)


def attributes(tables: Tables, names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """(name as given, attribute list) for each name; an empty list for a table that is not there."""
    found = ((name, named(tables, name)) for name in names)
    return tuple((name, table.attributes if table else "") for name, table in found)
