"""The effects of statements that create, rename or replace one object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from backout.sql.columns import traits_of_constraint
from backout.sql.facts import Effect, EffectKind, Trait, traits_of
from backout.sql.names import qualified
from backout.sql.rows import effects_of_rows
from backout.sql.tree import Node, name_parts, object_words, relation


def _create_table(node: Node) -> Iterable[Effect]:
    table = node.child("relation")
    partition = node.child("partbound") is not None
    parent = node.children("inh_relations")[:1] if partition else ()
    traits = traits_of(
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
        traits = frozenset({Trait.FOREIGN}) | traits_of(if_not_exists=base.flag("if_not_exists"))
        yield Effect(EffectKind.CREATE_TABLE, relation(base.child("relation")), traits=traits)


def _create_table_as(node: Node) -> Iterable[Effect]:
    query = node.child("query")
    yield from effects_of_rows(query)
    if query is not None and query.kind == "ExecuteStmt":
        yield Effect(EffectKind.DYNAMIC, other="EXECUTE")
    into = node.child("into")
    target = into.child("rel") if into is not None else None
    materialized = node.enum("objtype") == "OBJECT_MATVIEW"
    traits = traits_of(
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
        yield Effect(EffectKind.METADATA, table, other=f"RENAME {object_words(what)} TO {new}")


def _index(node: Node) -> Iterable[Effect]:
    traits = traits_of(
        concurrently=node.flag("concurrent"),
        unique=node.flag("unique"),
        if_not_exists=node.flag("if_not_exists"),
    )
    yield Effect(
        EffectKind.CREATE_INDEX, relation(node.child("relation")), other=node.text("idxname"), traits=traits
    )


def _view(node: Node) -> Iterable[Effect]:
    traits = traits_of(or_replace=node.flag("replace"))
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
        yield Effect(EffectKind.CREATE_FUNCTION, name, traits=traits_of(or_replace=node.flag("replace")))
    else:
        yield Effect(EffectKind.OTHER, name, other=f"CREATE {object_words(what)}")


def _alter_enum(node: Node) -> Iterable[Effect]:
    name = qualified(*node.strings("type_name"))
    if node.text("old_val"):
        yield Effect(EffectKind.OTHER, name, other="RENAME VALUE")
    else:
        traits = traits_of(if_not_exists=node.flag("skip_if_new_val_exists"))
        yield Effect(EffectKind.ADD_VALUE, name, other=node.text("new_val"), traits=traits)


_ALTER_DOMAIN: Mapping[str, EffectKind] = {
    "C": EffectKind.ADD_CONSTRAINT,
    "X": EffectKind.DROP_CONSTRAINT,
    "O": EffectKind.SET_NOT_NULL,
}


def _alter_domain(node: Node) -> Iterable[Effect]:
    constraint = node.child("def")
    name = node.text("name")
    traits = frozenset({Trait.DOMAIN})
    if constraint is not None and constraint.kind == "Constraint":
        name = constraint.text("conname")
        traits |= traits_of_constraint(constraint)
    kind = _ALTER_DOMAIN.get(node.text("subtype"), EffectKind.METADATA)
    words = "ALTER DOMAIN" if kind is EffectKind.METADATA else name
    yield Effect(kind, qualified(*node.strings("type_name")), other=words, traits=traits)


def _function(node: Node) -> Iterable[Effect]:
    definer = any(
        option.text("defname") == "security" and _is_true(option.child("arg"))
        for option in node.children("options")
    )
    traits = traits_of(or_replace=node.flag("replace"), security_definer=definer)
    yield Effect(EffectKind.CREATE_FUNCTION, qualified(*node.strings("funcname")), traits=traits)


def _alter_function(node: Node) -> Iterable[Effect]:
    definer = any(
        option.text("defname") == "security" and _is_true(option.child("arg"))
        for option in node.children("actions")
    )
    function = node.child("func")
    name = qualified(*name_parts(function)) if function is not None else ""
    yield Effect(
        EffectKind.METADATA, name, other="ALTER FUNCTION", traits=traits_of(security_definer=definer)
    )


def _is_true(argument: Node | None) -> bool:
    return argument is not None and argument.kind == "Boolean" and argument.flag("boolval")


def _trigger(node: Node) -> Iterable[Effect]:
    yield Effect(
        EffectKind.CREATE_TRIGGER,
        relation(node.child("relation")),
        other=node.text("trigname"),
        traits=traits_of(or_replace=node.flag("replace")),
    )


def _extension(node: Node) -> Iterable[Effect]:
    cascade = any(option.text("defname") == "cascade" for option in node.children("options"))
    traits = traits_of(if_not_exists=node.flag("if_not_exists"), cascade=cascade)
    yield Effect(EffectKind.CREATE_EXTENSION, qualified(node.text("extname")), traits=traits)


def _sequence(node: Node) -> Iterable[Effect]:
    traits = traits_of(if_not_exists=node.flag("if_not_exists"))
    yield Effect(EffectKind.CREATE_SEQUENCE, relation(node.child("sequence")), traits=traits)


CREATES: Mapping[str, Callable[[Node], Iterable[Effect]]] = {
    "CreateStmt": _create_table,
    "CreateForeignTableStmt": _create_foreign_table,
    "CreateTableAsStmt": _create_table_as,
    "RenameStmt": _rename,
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
    "CreateSeqStmt": _sequence,
}
"""One reader per kind of statement."""
