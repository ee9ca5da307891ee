"""From a statement's tree to its effects: what it creates, changes and takes away, table by table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from backout.sql import tree
from backout.sql.alter_table import effects_of_alter_table
from backout.sql.creates import CREATES
from backout.sql.drops import effects_of_drop
from backout.sql.facts import Effect, EffectKind, Trait, traits_of
from backout.sql.names import qualified, split_qualified
from backout.sql.rows import DML, effects_of_rows
from backout.sql.tags import tag_of
from backout.sql.tree import Node, relation

__all__ = ["Effect", "EffectKind", "Trait", "effects", "effects_of"]

_CACHED_LENGTH = 4096


def effects(text: str) -> tuple[Effect, ...]:
    """The effects of a statement or script, in order; never raises.

    What the parser does not understand has the one effect OTHER, whose `other` is `not understood`.
    """
    return _cached_effects(text) if len(text) <= _CACHED_LENGTH else _effects(text)


def _effects(text: str) -> tuple[Effect, ...]:
    found: list[Effect] = []
    for fragment in tree.fragments(text):
        found.extend(effects_of(fragment.node))
    return tuple(found)


_cached_effects = lru_cache(maxsize=512)(_effects)


def effects_of(node: Node | None) -> tuple[Effect, ...]:
    """The effects of one statement's tree; None stands for a statement that was not understood."""
    if node is None:
        return (Effect(EffectKind.OTHER, other="not understood"),)
    reader = _READERS.get(node.kind)
    if reader is not None:
        return tuple(reader(node))
    if node.kind in _NO_EFFECT:
        return ()
    kind = _PLAIN.get(node.kind, EffectKind.OTHER)
    named = next(node.find("RangeVar"), None) if kind is not EffectKind.DYNAMIC else None
    return (Effect(kind, relation(named), other=tag_of(node)),)


def _truncate(node: Node) -> Iterable[Effect]:
    traits = traits_of(cascade=node.enum("behavior") == "DROP_CASCADE")
    for table in node.children("relations"):
        yield Effect(EffectKind.TRUNCATE, relation(table), traits=traits)


def _copy(node: Node) -> Iterable[Effect]:
    yield from effects_of_rows(node.child("query"))
    if node.flag("is_from"):
        yield Effect(EffectKind.INSERT, relation(node.child("relation")))


def _explain(node: Node) -> Iterable[Effect]:
    return effects_of(node.child("query")) if analyzes(node) else ()


def analyzes(node: Node) -> bool:
    """Whether an ExplainStmt runs what it explains."""
    return any(
        option.text("defname") == "analyze" and not _is_off(option.child("arg"))
        for option in node.children("options")
    )


def _is_off(argument: Node | None) -> bool:
    if argument is None:
        return False
    if argument.kind == "String":
        return argument.text("sval").lower() in ("off", "false", "0", "no")
    if argument.kind == "Integer":
        return not argument.number("ival")
    return argument.kind == "Boolean" and not argument.flag("boolval")


def _inner_query(node: Node) -> Iterable[Effect]:
    return effects_of_rows(node.child("query"))


def _schema(node: Node) -> Iterable[Effect]:
    traits = traits_of(if_not_exists=node.flag("if_not_exists"))
    yield Effect(EffectKind.CREATE_SCHEMA, qualified(node.text("schemaname")), traits=traits)
    for element in node.children("schema_elts"):
        for effect in effects_of(element):
            inside = split_qualified(effect.table)
            yield replace(effect, table=qualified(*(node.text("schemaname"), *inside)[-2:]))


_READERS: Mapping[str, Callable[[Node], Iterable[Effect]]] = {
    "AlterTableStmt": effects_of_alter_table,
    "DropStmt": effects_of_drop,
    "CreateSchemaStmt": _schema,
    "TruncateStmt": _truncate,
    "CopyStmt": _copy,
    "ExplainStmt": _explain,
    "DeclareCursorStmt": _inner_query,
    **CREATES,
    **dict.fromkeys(DML, effects_of_rows),
}

_PLAIN: Mapping[str, EffectKind] = {
    "DoStmt": EffectKind.DYNAMIC,
    "CallStmt": EffectKind.DYNAMIC,
    "ExecuteStmt": EffectKind.DYNAMIC,
} | dict.fromkeys(
    (
        "CommentStmt",
        "GrantStmt",
        "GrantRoleStmt",
        "AlterDefaultPrivilegesStmt",
        "AlterOwnerStmt",
        "AlterSeqStmt",
        "CreatePolicyStmt",
        "AlterPolicyStmt",
        "CreateStatsStmt",
        "AlterStatsStmt",
        "SecLabelStmt",
        "VacuumStmt",
        "ReindexStmt",
        "ClusterStmt",
        "CreatePublicationStmt",
        "AlterPublicationStmt",
    ),
    EffectKind.METADATA,
)

_NO_EFFECT = frozenset(
    {
        "TransactionStmt",
        "VariableSetStmt",
        "VariableShowStmt",
        "PrepareStmt",
        "DeallocateStmt",
        "FetchStmt",
        "ClosePortalStmt",
        "ListenStmt",
        "UnlistenStmt",
        "NotifyStmt",
        "LockStmt",
        "DiscardStmt",
        "CheckPointStmt",
        "ConstraintsSetStmt",
    }
)
