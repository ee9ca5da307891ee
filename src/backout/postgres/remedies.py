"""Ways out of a migration that was applied in part: the statements that undo or complete it. Pure.

Every statement stands alone, outside a transaction of its neighbours, with names qualified: DROP INDEX
CONCURRENTLY and its like can run in no other way. What cannot be undone is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backout.model.statement import Statement
from backout.postgres.catalog import Index, Schema, Table
from backout.postgres.names import qualified, quoted
from backout.postgres.presence import MAKES, TAKES, find_index, find_table, happened, tellable
from backout.sql.effects import effects
from backout.sql.facts import Effect, EffectKind, Trait

_TELLABLE = MAKES | TAKES


@dataclass(frozen=True, slots=True)
class Remedy:
    """Statements in order, each to be run alone. With `refused` there is no such way, and it says why."""

    steps: tuple[str, ...]
    refused: str = ""
    untold: tuple[str, ...] = ()
    """What cannot be told from the catalog and is left as it is."""


def undo(up: Sequence[Statement], down: Sequence[Statement], schema: Schema) -> Remedy:
    """Take back what a pending migration's `up` did already; `down` is asked for what the up took away."""
    all_of = _effects(up)
    told = tellable(all_of, schema)
    done = [effect for effect in told if happened(effect, schema)]
    own = {effect.table for effect in done if effect.kind is EffectKind.CREATE_TABLE and not _older(effect)}
    steps: list[str] = []
    untold = [_words(e) for e in all_of if e.kind not in _TELLABLE or e not in told]
    for effect in reversed(done):
        if effect.kind is not EffectKind.CREATE_TABLE and effect.table in own:
            continue  # goes with the table
        if _older(effect) and not _invalid(effect, schema):
            untold.append(f"{_words(effect)}, if not exists: it may be older than this migration")
            continue
        step = _made_again(effect, down) if effect.kind in TAKES else inverse(effect, schema)
        if not step:
            return Remedy((), f"{_words(effect)} took effect and cannot be taken back", tuple(untold))
        steps.append(step)
    return Remedy(tuple(steps), untold=tuple(dict.fromkeys(untold)))


def restore(up: Sequence[Statement], schema: Schema) -> Remedy:
    """Do again what of an applied migration's `up` a broken-off down has undone, in the order of the up.

    Invalid indexes count as there: this is what a down needs to find.
    """
    steps = []
    for statement in up:
        told = tellable(effects(statement.text), schema)
        gone = [effect for effect in told if not happened(effect, schema)]
        if gone and len(gone) < len(told):
            return Remedy((), f"only a part of one statement is left: {_words(gone[0])} is gone")
        if gone:
            steps.append(statement.text)
    return Remedy(tuple(steps))


def complete(up: Sequence[Statement], schema: Schema) -> Remedy:
    """Make an applied migration whole: what `restore` does, and every invalid index of it built anew."""
    restored = restore(up, schema)
    return Remedy((*rebuilt(up, schema).steps, *restored.steps), restored.refused)


def rebuilt(up: Sequence[Statement], schema: Schema) -> Remedy:
    """Build the invalid indexes of an applied migration anew, and nothing else: later migrations may have
    changed the rest on purpose."""
    steps = []
    for effect in _effects(up):
        found = find_index(effect, schema) if effect.kind is EffectKind.CREATE_INDEX else None
        if found is not None and not found[1].valid:
            steps += [drop_index(*found), concurrently(found[1])]
    return Remedy(tuple(steps))


def drop_index(table: Table, index: Index) -> str:
    """DROP of one index; CONCURRENTLY where PostgreSQL can (not on a partitioned table)."""
    how = "" if table.kind == "p" else "CONCURRENTLY "
    return f"DROP INDEX {how}{qualified(table.schema, index.name)}"


def concurrently(index: Index) -> str:
    """The statement that builds an index without stopping writes, as the catalog describes it."""
    head = "CREATE UNIQUE INDEX " if index.unique else "CREATE INDEX "
    return index.definition.replace(head, f"{head}CONCURRENTLY ", 1)


def _effects(statements: Iterable[Statement]) -> tuple[Effect, ...]:
    return tuple(effect for statement in statements for effect in effects(statement.text))


def _older(effect: Effect) -> bool:
    return Trait.IF_NOT_EXISTS in effect.traits


def _invalid(effect: Effect, schema: Schema) -> bool:
    found = find_index(effect, schema) if effect.kind is EffectKind.CREATE_INDEX else None
    return found is not None and not found[1].valid


def _words(effect: Effect) -> str:
    what = effect.column or effect.other
    return " ".join(filter(None, (effect.kind.value, effect.table, what if what != effect.table else "")))


def inverse(effect: Effect, schema: Schema) -> str:
    """The statement that takes back something that was made; empty when there is none."""
    table = find_table(effect.table, schema)
    place = table.qualified if table is not None else ""
    match effect.kind:
        case EffectKind.CREATE_INDEX:
            found = find_index(effect, schema)
            return drop_index(*found) if found is not None else ""
        case EffectKind.CREATE_TABLE:
            return f"DROP TABLE {place}"
        case EffectKind.CREATE_VIEW:
            kind = "MATERIALIZED VIEW" if table is not None and table.kind == "m" else "VIEW"
            return f"DROP {kind} {place}"
        case EffectKind.CREATE_TYPE:
            kind = "DOMAIN" if Trait.DOMAIN in effect.traits else "TYPE"
            return f"DROP {kind} {effect.table}"
        case EffectKind.ADD_COLUMN:
            return f"ALTER TABLE {place} DROP COLUMN {quoted(effect.column)}"
        case EffectKind.ADD_CONSTRAINT:
            return f"ALTER TABLE {place} DROP CONSTRAINT {quoted(effect.other)}"
        case EffectKind.RENAME_COLUMN:
            return f"ALTER TABLE {place} RENAME COLUMN {quoted(effect.other)} TO {quoted(effect.column)}"
        case EffectKind.RENAME_TABLE:
            renamed = find_table(effect.other, schema)
            return f"ALTER TABLE {renamed.qualified} RENAME TO {effect.table}" if renamed is not None else ""
        case _:
            return ""


_MAKER = {
    EffectKind.DROP_INDEX: EffectKind.CREATE_INDEX,
    EffectKind.DROP_CONSTRAINT: EffectKind.ADD_CONSTRAINT,
    EffectKind.DROP_VIEW: EffectKind.CREATE_VIEW,
    EffectKind.DROP_TYPE: EffectKind.CREATE_TYPE,
}


def _made_again(taken: Effect, down: Sequence[Statement]) -> str:
    """The statement of the down that makes again what the up took; never for what held values."""
    wanted = _MAKER.get(taken.kind)
    for statement in down:
        for effect in effects(statement.text):
            same = effect.other == taken.other and (effect.other or effect.table == taken.table)
            if effect.kind is wanted and same:
                return statement.text
    return ""
