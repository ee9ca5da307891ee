"""Which tables a statement may touch, as far as its text tells; when it does not, all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backout.model.statement import Statement, StatementClass
from backout.postgres.proxy.tables import parts
from backout.sql.effects import Effect, EffectKind, Trait, effects

_OPAQUE = (StatementClass.DYNAMIC, StatementClass.UNKNOWN)
_ROW_KINDS = (EffectKind.UPDATE, EffectKind.DELETE)


def may_touch(statements: Sequence[Statement], table: str) -> bool:
    """Whether one of these statements may destroy something of `table` (qualified and quoted).

    Generous: what is not certain counts. The commit gate looks at what really happened.
    """
    bare = parts(table)[-1]
    return any(_may_touch(statement, bare) for statement in statements)


def _may_touch(statement: Statement, bare: str) -> bool:
    if statement.klass in _OPAQUE:
        return True
    if any(parts(name)[-1] == bare for name in statement.objects):
        return True
    found = effects(statement.text)
    if any(_reaches_further(effect) for effect in found):
        return True
    return not statement.objects and not found  # a SELECT of a function that we do not know


def _reaches_further(effect: Effect) -> bool:
    """What goes beyond the relation that is named: cascades, and drops of what is not a table."""
    if Trait.CASCADE in effect.traits or effect.kind in (EffectKind.DYNAMIC, EffectKind.OTHER):
        return True
    # a DELETE or UPDATE may cascade through foreign keys, a trigger may do anything
    if effect.kind in (*_ROW_KINDS, EffectKind.TRUNCATE):
        return True
    return effect.kind.value.startswith("DROP ") and effect.kind not in (
        EffectKind.DROP_COLUMN,
        EffectKind.DROP_INDEX,
        EffectKind.DROP_CONSTRAINT,
        EffectKind.DROP_VIEW,
        EffectKind.DROP_TABLE,
    )


def rows_changed(statements: Sequence[Statement], planned: Iterable[str]) -> tuple[str, ...]:
    """Names (as written) of tables whose rows these statements update or delete.

    Code that cannot be read from the text may do so to every table of the plan.
    """
    names: dict[str, None] = {}
    for statement in statements:
        found = effects(statement.text)
        if statement.klass in _OPAQUE or (not found and not statement.objects):
            names.update(dict.fromkeys(planned))
        for effect in found:
            if effect.kind in _ROW_KINDS:
                names[effect.table] = None
    return tuple(names)


def truncates(statements: Sequence[Statement]) -> bool:
    """Whether one of these may have truncated a table."""
    return any(
        statement.klass in _OPAQUE
        or (statement.klass is StatementClass.WRITE and statement.tag == "SELECT")
        or any(effect.kind is EffectKind.TRUNCATE for effect in effects(statement.text))
        for statement in statements
    )


def alters(statements: Sequence[Statement], bare: str) -> bool:
    """Whether one of these is an ALTER TABLE of a table of that bare name."""
    return any(
        statement.tag == "ALTER TABLE" and any(parts(name)[-1] == bare for name in statement.objects)
        for statement in statements
    )
