"""The effects of DROP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backout.sql.facts import Effect, EffectKind, traits_of
from backout.sql.names import qualified
from backout.sql.tree import Node, name_parts, object_words

_DROPS: Mapping[str, EffectKind] = {
    "OBJECT_TABLE": EffectKind.DROP_TABLE,
    "OBJECT_VIEW": EffectKind.DROP_VIEW,
    "OBJECT_MATVIEW": EffectKind.DROP_VIEW,
    "OBJECT_INDEX": EffectKind.DROP_INDEX,
    "OBJECT_TYPE": EffectKind.DROP_TYPE,
    "OBJECT_DOMAIN": EffectKind.DROP_TYPE,
    "OBJECT_FUNCTION": EffectKind.DROP_FUNCTION,
    "OBJECT_PROCEDURE": EffectKind.DROP_FUNCTION,
    "OBJECT_ROUTINE": EffectKind.DROP_FUNCTION,
    "OBJECT_AGGREGATE": EffectKind.DROP_FUNCTION,
    "OBJECT_TRIGGER": EffectKind.DROP_TRIGGER,
    "OBJECT_EXTENSION": EffectKind.DROP_EXTENSION,
    "OBJECT_SCHEMA": EffectKind.DROP_SCHEMA,
    "OBJECT_SEQUENCE": EffectKind.DROP_SEQUENCE,
}
_HARMLESS_DROPS = frozenset(
    {"OBJECT_POLICY", "OBJECT_RULE", "OBJECT_STATISTIC_EXT", "OBJECT_EVENT_TRIGGER", "OBJECT_PUBLICATION"}
)


def effects_of_drop(node: Node) -> Iterable[Effect]:
    """One effect per object of a `DropStmt`; the kinds that PostgreSQL has but nobody counts are OTHER."""
    what = node.enum("remove_type")
    cascade = node.enum("behavior") == "DROP_CASCADE"
    traits = traits_of(
        cascade=cascade,
        if_exists=node.flag("missing_ok"),
        concurrently=node.flag("concurrent"),
        materialized=what == "OBJECT_MATVIEW",
        domain=what == "OBJECT_DOMAIN",
    )
    for parts in map(name_parts, node.children("objects")):
        if what in ("OBJECT_TRIGGER", "OBJECT_POLICY", "OBJECT_RULE"):
            *table, name = parts or ("",)
            kind = EffectKind.DROP_TRIGGER if what == "OBJECT_TRIGGER" else EffectKind.METADATA
            word = name if kind is EffectKind.DROP_TRIGGER else f"DROP {object_words(what)} {name}"
            yield Effect(kind, qualified(*table), other=word, traits=traits)
        elif what in _DROPS:
            other = parts[-1] if what == "OBJECT_INDEX" and parts else ""
            yield Effect(_DROPS[what], qualified(*parts), other=other, traits=traits)
        else:
            kind = EffectKind.METADATA if what in _HARMLESS_DROPS and not cascade else EffectKind.OTHER
            yield Effect(kind, qualified(*parts), other=f"DROP {object_words(what)}", traits=traits)
