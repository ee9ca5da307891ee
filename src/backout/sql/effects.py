"""From a statement's tree to its effects: what it creates, changes and takes away, table by table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from backout.sql import tree
from backout.sql.alter_table import effects_of_alter_table
from backout.sql.columns import traits_of_constraint
from backout.sql.facts import Effect, EffectKind, Trait
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


def _traits(**present: bool) -> frozenset[Trait]:
    """The traits named (in lower case) whose condition holds."""
    return frozenset(Trait[name.upper()] for name, holds in present.items() if holds)


def _create_table(node: Node) -> Iterable[Effect]:
    table = node.child("relation")
    partition = node.child("partbound") is not None
    parent = node.children("inh_relations")[:1] if partition else ()
    traits = _traits(
        if_not_exists=node.flag("if_not_exists"),
        temporary=table is not None and table.text("relpersistence") == "t",
        partition=partition,
    )
    yield Effect(
        EffectKind.CREATE_TABLE,
        relation(table),
        traits=traits,
        references=relation(parent[0]) if parent else "",
    )


def _create_foreign_table(node: Node) -> Iterable[Effect]:
    base = node.child("base_stmt")
    if base is not None:
        traits = frozenset({Trait.FOREIGN}) | _traits(if_not_exists=base.flag("if_not_exists"))
        yield Effect(EffectKind.CREATE_TABLE, relation(base.child("relation")), traits=traits)


def _create_table_as(node: Node) -> Iterable[Effect]:
    query = node.child("query")
    yield from effects_of_rows(query)
    into = node.child("into")
    target = into.child("rel") if into is not None else None
    materialized = node.enum("objtype") == "OBJECT_MATVIEW"
    traits = _traits(
        if_not_exists=node.flag("if_not_exists"),
        temporary=target is not None and target.text("relpersistence") == "t",
        materialized=materialized,
    )
    kind = EffectKind.CREATE_VIEW if materialized else EffectKind.CREATE_TABLE
    yield Effect(kind, relation(target), traits=traits)


def _rename(node: Node) -> Iterable[Effect]:
    what = node.enum("rename_type")
    table = relation(node.child("relation"))
    new = node.text("newname")
    if what in ("OBJECT_COLUMN", "OBJECT_ATTRIBUTE"):
        yield Effect(EffectKind.RENAME_COLUMN, table, node.text("subname"), new)
    elif what == "OBJECT_TABLE":
        yield Effect(EffectKind.RENAME_TABLE, table, other=qualified(new))
    elif what == "OBJECT_SCHEMA":
        yield Effect(EffectKind.OTHER, qualified(node.text("subname")), other=f"RENAME SCHEMA TO {new}")
    elif what in ("OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_FOREIGN_TABLE"):
        yield Effect(EffectKind.OTHER, table, other=f"RENAME TO {new}")
    else:
        yield Effect(EffectKind.METADATA, table, other=f"RENAME {_words(what)} TO {new}")


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


def _drop(node: Node) -> Iterable[Effect]:
    what = node.enum("remove_type")
    cascade = node.enum("behavior") == "DROP_CASCADE"
    traits = _traits(
        cascade=cascade,
        if_exists=node.flag("missing_ok"),
        concurrently=node.flag("concurrent"),
        materialized=what == "OBJECT_MATVIEW",
        domain=what == "OBJECT_DOMAIN",
    )
    for parts in map(_name_parts, node.children("objects")):
        if what in ("OBJECT_TRIGGER", "OBJECT_POLICY", "OBJECT_RULE"):
            *table, name = parts or ("",)
            kind = EffectKind.DROP_TRIGGER if what == "OBJECT_TRIGGER" else EffectKind.METADATA
            word = name if kind is EffectKind.DROP_TRIGGER else f"DROP {_words(what)} {name}"
            yield Effect(kind, qualified(*table), other=word, traits=traits)
        elif what in _DROPS:
            other = parts[-1] if what == "OBJECT_INDEX" and parts else ""
            yield Effect(_DROPS[what], qualified(*parts), other=other, traits=traits)
        else:
            kind = EffectKind.METADATA if what in _HARMLESS_DROPS and not cascade else EffectKind.OTHER
            yield Effect(kind, qualified(*parts), other=f"DROP {_words(what)}", traits=traits)


def _words(object_type: str) -> str:
    """`OBJECT_FOREIGN_TABLE` as people write it."""
    return object_type.removeprefix("OBJECT_").replace("_", " ")


def _name_parts(node: Node) -> tuple[str, ...]:
    """The raw parts of a name, in each of the shapes in which the grammar delivers one."""
    match node.kind:
        case "String":
            return (node.text("sval"),)
        case "List":
            return node.strings("items")
        case "TypeName":
            return node.strings("names")
        case "ObjectWithArgs":
            return node.strings("objname")
        case _:
            return ()


def _index(node: Node) -> Iterable[Effect]:
    traits = _traits(
        concurrently=node.flag("concurrent"),
        unique=node.flag("unique"),
        if_not_exists=node.flag("if_not_exists"),
    )
    yield Effect(
        EffectKind.CREATE_INDEX, relation(node.child("relation")), other=node.text("idxname"), traits=traits
    )


def _view(node: Node) -> Iterable[Effect]:
    traits = _traits(or_replace=node.flag("replace"))
    yield Effect(EffectKind.CREATE_VIEW, relation(node.child("view")), traits=traits)


def _enum_type(node: Node) -> Iterable[Effect]:
    yield Effect(EffectKind.CREATE_TYPE, qualified(*node.strings("type_name")), other="enum")


def _composite_type(node: Node) -> Iterable[Effect]:
    yield Effect(EffectKind.CREATE_TYPE, relation(node.child("typevar")), other="composite")


def _range_type(node: Node) -> Iterable[Effect]:
    yield Effect(EffectKind.CREATE_TYPE, qualified(*node.strings("type_name")), other="range")


def _domain(node: Node) -> Iterable[Effect]:
    yield Effect(
        EffectKind.CREATE_TYPE,
        qualified(*node.strings("domainname")),
        other="domain",
        traits=frozenset({Trait.DOMAIN}),
    )


def _define(node: Node) -> Iterable[Effect]:
    name = qualified(*node.strings("defnames"))
    what = node.enum("kind")
    if what == "OBJECT_TYPE":
        yield Effect(EffectKind.CREATE_TYPE, name, other="base")
    elif what == "OBJECT_AGGREGATE":
        yield Effect(EffectKind.CREATE_FUNCTION, name, traits=_traits(or_replace=node.flag("replace")))
    else:
        yield Effect(EffectKind.OTHER, name, other=f"CREATE {_words(what)}")


def _alter_enum(node: Node) -> Iterable[Effect]:
    name = qualified(*node.strings("type_name"))
    if node.text("old_val"):
        yield Effect(EffectKind.OTHER, name, other="RENAME VALUE")
    else:
        traits = _traits(if_not_exists=node.flag("skip_if_new_val_exists"))
        yield Effect(EffectKind.ADD_VALUE, name, other=node.text("new_val"), traits=traits)


def _alter_domain(node: Node) -> Iterable[Effect]:
    constraint = node.child("def")
    traits = frozenset({Trait.DOMAIN})
    if constraint is not None and constraint.kind == "Constraint":
        traits |= traits_of_constraint(constraint)
    kinds = {"C": EffectKind.ADD_CONSTRAINT, "X": EffectKind.DROP_CONSTRAINT, "O": EffectKind.SET_NOT_NULL}
    kind = kinds.get(node.text("subtype"), EffectKind.METADATA)
    yield Effect(kind, qualified(*node.strings("type_name")), other=node.text("name"), traits=traits)


def _function(node: Node) -> Iterable[Effect]:
    definer = any(
        option.text("defname") == "security" and _is_true(option.child("arg"))
        for option in node.children("options")
    )
    traits = _traits(or_replace=node.flag("replace"), security_definer=definer)
    yield Effect(EffectKind.CREATE_FUNCTION, qualified(*node.strings("funcname")), traits=traits)


def _alter_function(node: Node) -> Iterable[Effect]:
    definer = any(
        option.text("defname") == "security" and _is_true(option.child("arg"))
        for option in node.children("actions")
    )
    function = node.child("func")
    name = qualified(*_name_parts(function)) if function is not None else ""
    yield Effect(EffectKind.METADATA, name, other="ALTER FUNCTION", traits=_traits(security_definer=definer))


def _is_true(argument: Node | None) -> bool:
    return argument is not None and argument.kind == "Boolean" and argument.flag("boolval")


def _trigger(node: Node) -> Iterable[Effect]:
    yield Effect(
        EffectKind.CREATE_TRIGGER,
        relation(node.child("relation")),
        other=node.text("trigname"),
        traits=_traits(or_replace=node.flag("replace")),
    )


def _extension(node: Node) -> Iterable[Effect]:
    cascade = any(option.text("defname") == "cascade" for option in node.children("options"))
    traits = _traits(if_not_exists=node.flag("if_not_exists"), cascade=cascade)
    yield Effect(EffectKind.CREATE_EXTENSION, qualified(node.text("extname")), traits=traits)


def _schema(node: Node) -> Iterable[Effect]:
    traits = _traits(if_not_exists=node.flag("if_not_exists"))
    yield Effect(EffectKind.CREATE_SCHEMA, qualified(node.text("schemaname")), traits=traits)
    for element in node.children("schema_elts"):
        for effect in effects_of(element):
            inside = split_qualified(effect.table)
            yield replace(effect, table=qualified(*(node.text("schemaname"), *inside)[-2:]))


def _sequence(node: Node) -> Iterable[Effect]:
    traits = _traits(if_not_exists=node.flag("if_not_exists"))
    yield Effect(EffectKind.CREATE_SEQUENCE, relation(node.child("sequence")), traits=traits)


def _truncate(node: Node) -> Iterable[Effect]:
    traits = _traits(cascade=node.enum("behavior") == "DROP_CASCADE")
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


_READERS: Mapping[str, Callable[[Node], Iterable[Effect]]] = {
    "AlterTableStmt": effects_of_alter_table,
    "CreateStmt": _create_table,
    "CreateForeignTableStmt": _create_foreign_table,
    "CreateTableAsStmt": _create_table_as,
    "RenameStmt": _rename,
    "DropStmt": _drop,
    "IndexStmt": _index,
    "ViewStmt": _view,
    "CreateEnumStmt": _enum_type,
    "CompositeTypeStmt": _composite_type,
    "CreateRangeStmt": _range_type,
    "CreateDomainStmt": _domain,
    "DefineStmt": _define,
    "AlterEnumStmt": _alter_enum,
    "AlterDomainStmt": _alter_domain,
    "CreateFunctionStmt": _function,
    "AlterFunctionStmt": _alter_function,
    "CreateTrigStmt": _trigger,
    "CreateExtensionStmt": _extension,
    "CreateSchemaStmt": _schema,
    "CreateSeqStmt": _sequence,
    "TruncateStmt": _truncate,
    "CopyStmt": _copy,
    "ExplainStmt": _explain,
    "DeclareCursorStmt": _inner_query,
} | dict.fromkeys(DML, effects_of_rows)

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
        "AlterRoleSetStmt",
        "AlterDatabaseSetStmt",
        "SecLabelStmt",
        "VacuumStmt",
        "ReindexStmt",
        "ClusterStmt",
        "RefreshMatViewStmt",
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
