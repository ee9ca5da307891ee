"""Whose rows go along: what TRUNCATE … CASCADE empties besides, and what foreign keys act on; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from backout.postgres.catalog import Schema, Table
from backout.postgres.presence import find_table
from backout.sql.effects import Effect, EffectKind, effects

_OF_ROWS = (EffectKind.TRUNCATE, EffectKind.DELETE, EffectKind.UPDATE)


def rows_reached(statements: Iterable[str], schema: Schema) -> frozenset[str]:
    """Qualified names of tables whose rows these statements empty, delete or change: those named, and those
    that follow over foreign keys, partitions and inheritance."""
    found: set[str] = set()
    for text in statements:
        for effect in effects(text):
            table = find_table(effect.table, schema) if effect.kind in _OF_ROWS else None
            if table is not None:
                found |= closure({table.qualified}, schema, _follows(effect))
    return frozenset(found)


def _follows(effect: Effect) -> Callable[[str], bool]:
    """Which foreign keys an effect follows; CASCADE of TRUNCATE asks no key what it says ON DELETE."""
    if effect.kind is not EffectKind.TRUNCATE:
        return acts
    return lambda definition: effect.cascade


def closure(start: set[str], schema: Schema, follows: Callable[[str], bool]) -> set[str]:
    """Tables reached over foreign keys (`follows` is asked with a definition), partitions, inheritance."""
    found = set(start)
    while True:
        more = {
            table.qualified
            for table in schema.tables
            if table.qualified not in found and _reached(table, found, schema, follows)
        }
        if not more:
            return found
        found |= more


def _reached(table: Table, found: set[str], schema: Schema, follows: Callable[[str], bool]) -> bool:
    family = {schema.by_oid[oid].qualified for oid in table.parents if oid in schema.by_oid}
    children = {t.qualified for t in schema.tables if table.oid in t.parents}
    return bool((family | children) & found) or any(
        constraint.kind == "f"
        and follows(constraint.definition)
        and _referenced(constraint.definition) in found
        for constraint in table.constraints
    )


def acts(definition: str) -> bool:
    """Whether a foreign key changes or deletes rows by itself (cascade, set null, set default)."""
    return any(
        f"ON {event} {action}" in definition
        for event in ("DELETE", "UPDATE")
        for action in ("CASCADE", "SET")
    )


def _referenced(definition: str) -> str:
    """`public.users` of `FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE`."""
    return definition.partition(" REFERENCES ")[2].partition("(")[0].strip()
