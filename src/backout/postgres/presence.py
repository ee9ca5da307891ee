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
MAKES = frozenset(
    {
        EffectKind.CREATE_TABLE,
        EffectKind.ADD_COLUMN,
        EffectKind.CREATE_INDEX,
        EffectKind.ADD_CONSTRAINT,
        EffectKind.RENAME_COLUMN,
        EffectKind.RENAME_TABLE,
        EffectKind.CREATE_VIEW,
        EffectKind.CREATE_TYPE,
    }
)
TAKES = frozenset(
    {
        EffectKind.DROP_TABLE,
        EffectKind.DROP_COLUMN,
        EffectKind.DROP_INDEX,
        EffectKind.DROP_CONSTRAINT,
        EffectKind.DROP_VIEW,
        EffectKind.DROP_TYPE,
    }
)


def seen(
    effects: Iterable[Effect], schema: Schema, invalid: Iterable[InvalidIndex] = ()
) -> tuple[EffectSeen, ...]:
    """Evidence for every effect that a catalog can show, in order."""
    bad = {split_qualified(index.name)[-1]: index for index in invalid}
    return tuple(_evidence(effect, schema, bad) for effect in tellable(effects, schema))


def tellable(effects: Iterable[Effect], schema: Schema) -> tuple[Effect, ...]:
    """The effects whose presence can be told. A thing that the same script takes and makes again under its
    name looks alike before and after; only an invalid index gives it away."""
    all_of = tuple(effects)
    shown = [effect for effect in all_of if _visible(effect)]
    taken = {_thing(effect) for effect in all_of if effect.kind in TAKES}
    made = {_thing(effect) for effect in shown if effect.kind in MAKES}
    both = taken & made
    return tuple(effect for effect in shown if _thing(effect) not in both or _left_invalid(effect, schema))


def _left_invalid(effect: Effect, schema: Schema) -> bool:
    found = find_index(effect, schema) if effect.kind is EffectKind.CREATE_INDEX else None
    return found is not None and not found[1].valid


def _thing(effect: Effect) -> tuple[str, ...]:
    """What an effect makes or takes, by name; the same for both."""
    words = effect.kind.value.replace("CREATE ", "").replace("DROP ", "").replace("ADD ", "").lower()
    match effect.kind:
        case EffectKind.ADD_COLUMN | EffectKind.DROP_COLUMN:
            return ("column", _bare(effect.table), effect.column)
        case EffectKind.CREATE_INDEX | EffectKind.DROP_INDEX:
            return ("index", _bare(effect.other))
        case EffectKind.ADD_CONSTRAINT | EffectKind.DROP_CONSTRAINT:
            return ("constraint", _bare(effect.table), _bare(effect.other))
        case EffectKind.RENAME_COLUMN | EffectKind.RENAME_TABLE:
            return ("rename", _bare(effect.table), effect.column, effect.other)
        case _:
            return (words, _bare(effect.table))


def _visible(effect: Effect) -> bool:
    """Whether a catalog can show that it happened at all. `DROP … IF EXISTS` of something absent proves
    nothing, nor does a view that is replaced."""
    if effect.kind in TAKES:
        return Trait.IF_EXISTS not in effect.traits
    named = bool(effect.other) or effect.kind not in (EffectKind.CREATE_INDEX, EffectKind.ADD_CONSTRAINT)
    return effect.kind in MAKES and named and Trait.OR_REPLACE not in effect.traits


def happened(effect: Effect, schema: Schema) -> bool:
    """Whether the schema shows a `tellable` effect."""
    return _is_there(effect, schema) != (effect.kind in TAKES)


def _evidence(effect: Effect, schema: Schema, invalid: dict[str, InvalidIndex]) -> EffectSeen:
    what = " ".join(filter(None, (effect.kind.value, effect.column or effect.other)))
    present = happened(effect, schema)
    index = invalid.get(_bare(effect.other))
    note = index.note if index is not None else ""
    if not note and present and Trait.IF_NOT_EXISTS in effect.traits:
        note = "if not exists: it may be older"
    return EffectSeen(effect.table, what, present, note)


def _bare(name: str) -> str:
    parts = split_qualified(name) if name else ()
    return parts[-1] if parts else ""


def _is_there(effect: Effect, schema: Schema) -> bool:
    table = find_table(effect.table, schema)
    match effect.kind:
        case EffectKind.CREATE_TABLE | EffectKind.DROP_TABLE | EffectKind.CREATE_VIEW | EffectKind.DROP_VIEW:
            return table is not None
        case EffectKind.CREATE_TYPE | EffectKind.DROP_TYPE:
            return _has_type(effect.table, schema)
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
            return find_index(effect, schema) is not None


def find_index(effect: Effect, schema: Schema) -> tuple[Table, Index] | None:
    """The index that a CREATE INDEX made or a DROP INDEX takes, with its table."""
    name = _bare(effect.other)
    return next(((t, i) for t in (*schema.tables, *schema.views) for i in t.indexes if i.name == name), None)


def _has_column(table: Table, name: str) -> bool:
    return any(column.name == _bare_column(name) for column in table.columns)


def _bare_column(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') and name.endswith('"') else name


_TYPES = frozenset({"enum", "domain", "composite type", "range type", "type"})


def _has_type(name: str, schema: Schema) -> bool:
    bare = _bare(name)
    return any(d.kind in _TYPES and split_qualified(d.name)[-1] == bare for d in schema.others)


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
