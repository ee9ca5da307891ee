"""Which effects of a migration does the catalog show? Pure: statements and schema in, evidence out.

Only effects whose presence can be told from a catalog count: an added column is there or not, an UPDATE
leaves nothing to see.
"""

from __future__ import annotations

from collections.abc import Iterable

from backout.model.triage import EffectSeen, InvalidIndex
from backout.postgres.catalog import Index, Schema, Table
from backout.sql.facts import Effect, EffectKind, Trait
from backout.sql.names import split_qualified

# What is visible as something that is now there, and as something that is now gone.
_MAKES = {
    EffectKind.CREATE_TABLE,
    EffectKind.ADD_COLUMN,
    EffectKind.CREATE_INDEX,
    EffectKind.ADD_CONSTRAINT,
    EffectKind.RENAME_COLUMN,
    EffectKind.RENAME_TABLE,
}
_TAKES = {EffectKind.DROP_TABLE, EffectKind.DROP_COLUMN, EffectKind.DROP_INDEX, EffectKind.DROP_CONSTRAINT}


def seen(
    effects: Iterable[Effect], schema: Schema, invalid: Iterable[InvalidIndex] = ()
) -> tuple[EffectSeen, ...]:
    """Evidence for every effect that a catalog can show, in order. What the same script made before
    (a column of its own new table) counts with its table."""
    bad = {split_qualified(index.name)[-1]: index for index in invalid}
    return tuple(
        _judge(effect, schema, bad)
        for effect in effects
        if effect.kind in _MAKES or (effect.kind in _TAKES and not _may_miss(effect))
    )


def _may_miss(effect: Effect) -> bool:
    """`DROP … IF EXISTS` of something absent proves nothing."""
    return Trait.IF_EXISTS in effect.traits


def _judge(effect: Effect, schema: Schema, invalid: dict[str, InvalidIndex]) -> EffectSeen:
    present = _is_there(effect, schema)
    if effect.kind in _TAKES:
        present = not present
    what = " ".join(filter(None, (effect.kind.value, effect.column or effect.other)))
    return EffectSeen(effect.table, what, present, _note(invalid.get(_bare(effect.other))))


def _note(index: InvalidIndex | None) -> str:
    if index is None:
        return ""
    if index.ready and index.unique:
        return "invalid, ready: still rejects writes"
    return "invalid, ready: still costs writes" if index.ready else "invalid, not ready"


def _bare(name: str) -> str:
    parts = split_qualified(name) if name else ()
    return parts[-1] if parts else ""


def _is_there(effect: Effect, schema: Schema) -> bool:
    table = find_table(effect.table, schema)
    match effect.kind:
        case EffectKind.CREATE_TABLE | EffectKind.DROP_TABLE:
            return table is not None
        case EffectKind.RENAME_TABLE:
            return find_table(effect.other, schema) is not None and table is None
        case EffectKind.ADD_COLUMN | EffectKind.DROP_COLUMN:
            return table is not None and _has_column(table, effect.column)
        case EffectKind.RENAME_COLUMN:
            return (
                table is not None
                and _has_column(table, effect.other)
                and not _has_column(table, effect.column)
            )
        case EffectKind.ADD_CONSTRAINT | EffectKind.DROP_CONSTRAINT:
            return table is not None and any(c.name == _bare(effect.other) for c in table.constraints)
        case _:
            return any(index.name == _bare(effect.other) for index in _indexes(schema))


def _indexes(schema: Schema) -> Iterable[Index]:
    return (index for table in schema.tables for index in table.indexes)


def _has_column(table: Table, name: str) -> bool:
    return any(column.name == _bare_column(name) for column in table.columns)


def _bare_column(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') and name.endswith('"') else name


def find_table(name: str, schema: Schema) -> Table | None:
    """The table or view that a name as written in a migration means: qualified, else in `public`, else
    the only one of that name."""
    parts = split_qualified(name) if name else ()
    if not parts:
        return None
    relations = [*schema.tables, *schema.views]
    if len(parts) > 1:
        return next((t for t in relations if (t.schema, t.name) == tuple(parts[-2:])), None)
    same = [t for t in relations if t.name == parts[0]]
    return next((t for t in same if t.schema == "public"), same[0] if len(same) == 1 else None)
