"""Effects in one short line for people: `hero_snapshots: RENAME power, ADD source, ADD confidence`."""

from __future__ import annotations

from collections.abc import Iterable

from backout.sql.facts import Effect, EffectKind, Trait

_PHRASES_PER_TABLE = 6
_COLUMN_KINDS = frozenset(
    {
        EffectKind.ADD_COLUMN,
        EffectKind.DROP_COLUMN,
        EffectKind.RENAME_COLUMN,
        EffectKind.ALTER_TYPE,
        EffectKind.SET_DEFAULT,
        EffectKind.DROP_DEFAULT,
        EffectKind.SET_NOT_NULL,
        EffectKind.DROP_NOT_NULL,
    }
)
_NAMED_KINDS = frozenset(
    {
        EffectKind.RENAME_TABLE,
        EffectKind.ADD_CONSTRAINT,
        EffectKind.DROP_CONSTRAINT,
        EffectKind.CREATE_INDEX,
        EffectKind.ADD_VALUE,
        EffectKind.CREATE_TRIGGER,
        EffectKind.DROP_TRIGGER,
        EffectKind.ENABLE_TRIGGER,
        EffectKind.DISABLE_TRIGGER,
    }
)


def summarise(effects: Iterable[Effect]) -> str:
    """One line about many effects, table by table in order of appearance; empty for none.

    Several rows changed in one table count as one phrase; behind six phrases the rest is a number.
    """
    by_table: dict[str, list[str]] = {}
    for effect in effects:
        phrases = by_table.setdefault(effect.table, [])
        phrase = _phrase(effect)
        if phrase not in phrases:
            phrases.append(phrase)
    return "; ".join(_line(table, phrases) for table, phrases in by_table.items())


def _line(table: str, phrases: list[str]) -> str:
    shown = phrases[:_PHRASES_PER_TABLE]
    if len(phrases) > len(shown):
        shown.append(f"{len(phrases) - len(shown)} more")
    return f"{table}: {', '.join(shown)}" if table else ", ".join(shown)


def _phrase(effect: Effect) -> str:
    kind = effect.kind
    if kind in _COLUMN_KINDS:
        words = f"{kind.value} {effect.column}"
    elif kind in _NAMED_KINDS:
        words = f"{kind.value} {effect.other or _unnamed(effect)}".rstrip()
    elif kind in (EffectKind.METADATA, EffectKind.OTHER, EffectKind.DYNAMIC):
        words = effect.other if kind is not EffectKind.DYNAMIC else f"{kind.value} ({effect.other})"
    elif kind is EffectKind.DELETE and Trait.WHERE not in effect.traits:
        words = "DELETE of every row"
    elif kind is EffectKind.UPDATE:
        words = f"UPDATE {effect.column}"
    else:
        words = kind.value
    return words + (" CASCADE" if effect.cascade else "")


def _unnamed(effect: Effect) -> str:
    """What an object without a name of its own is called: the constraint's kind, or `ALL` triggers."""
    for trait in (Trait.FOREIGN_KEY, Trait.PRIMARY_KEY, Trait.UNIQUE, Trait.CHECK, Trait.EXCLUDE):
        if trait in effect.traits:
            return f"({trait.value})"
    return "ALL" if effect.kind in (EffectKind.ENABLE_TRIGGER, EffectKind.DISABLE_TRIGGER) else ""
