"""The blast radius: which tables can the captured statements, their cascades and triggers reach? Pure."""

from __future__ import annotations

from collections.abc import Iterable

from backout.model.statement import Statement, StatementClass
from backout.postgres.catalog import Schema, Table
from backout.postgres.following import acts, closure, rows_reached
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
    found = closure(start | rows_reached((s.text for s in captured), schema), schema, acts)
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
