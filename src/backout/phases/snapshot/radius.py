"""The blast radius: which tables can the captured statements, their cascades and triggers reach? Pure."""

from __future__ import annotations

from collections.abc import Iterable

from backout.model.statement import Statement, StatementClass
from backout.postgres.catalog import Schema, Table
from backout.sql.names import split_qualified


def reach(statements: Iterable[Statement], schema: Schema) -> tuple[str, ...] | None:
    """Qualified names of all tables in reach, sorted; None = it cannot be told, take everything.

    It cannot be told for dynamic SQL, for text the parser did not understand, when nothing was captured,
    and when a table in reach has a trigger or rule of the user's (its function may write anywhere).
    """
    captured = tuple(statements)
    if not captured or any(s.klass in (StatementClass.DYNAMIC, StatementClass.UNKNOWN) for s in captured):
        return None
    start = {t.qualified for s in captured for name in s.objects if (t := _named(name, schema)) is not None}
    found = _closure(start, schema)
    if any(other.table in found and other.kind in ("trigger", "rule") for other in schema.others):
        return None
    return tuple(sorted(found))


def _named(name: str, schema: Schema) -> Table | None:
    parts = split_qualified(name) if name else ()
    same = [
        t
        for t in schema.tables
        if parts and t.name == parts[-1] and (len(parts) == 1 or t.schema == parts[-2])
    ]
    return next((t for t in same if t.schema == "public"), same[0] if same else None)


def _closure(start: set[str], schema: Schema) -> set[str]:
    """Tables reached over foreign keys that act (cascade, set null, set default), partitions, inheritance."""
    found = set(start)
    while True:
        more = {
            table.qualified
            for table in schema.tables
            if table.qualified not in found and _reached(table, found, schema)
        }
        if not more:
            return found
        found |= more


def _reached(table: Table, found: set[str], schema: Schema) -> bool:
    family = {schema.by_oid[oid].qualified for oid in table.parents if oid in schema.by_oid}
    children = {t.qualified for t in schema.tables if table.oid in t.parents}
    return bool((family | children) & found) or any(
        constraint.kind == "f"
        and _acts(constraint.definition)
        and _referenced(constraint.definition) in found
        for constraint in table.constraints
    )


def _acts(definition: str) -> bool:
    return any(
        f"ON {event} {action}" in definition
        for event in ("DELETE", "UPDATE")
        for action in ("CASCADE", "SET")
    )


def _referenced(definition: str) -> str:
    """`public.users` of `FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE`."""
    return definition.partition(" REFERENCES ")[2].partition("(")[0].strip()
