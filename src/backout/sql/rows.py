"""The effects of statements on rows: SELECT INTO, INSERT, UPDATE, DELETE, MERGE, also inside WITH."""

from __future__ import annotations

from collections.abc import Iterator

from backout.sql.facts import Effect, EffectKind, Trait
from backout.sql.tree import Node, relation

DML = ("SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt")
_WRITING = ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt")


def effects_of_rows(node: Node | None) -> Iterator[Effect]:
    """The effects on rows anywhere in this tree, inner statements (WITH) before the outer one."""
    if node is None:
        return
    for inner in reversed(list(node.find(*DML))):
        match inner.kind:
            case "SelectStmt":
                yield from _select_into(inner)
            case "InsertStmt":
                yield from _insert(inner)
            case "UpdateStmt":
                yield from _update(inner)
            case "DeleteStmt":
                yield Effect(EffectKind.DELETE, relation(inner.child("relation")), traits=_condition(inner))
            case _:
                yield from _merge(inner)


def writes_rows(node: Node) -> bool:
    """Whether an INSERT, UPDATE, DELETE or MERGE stands anywhere in this tree."""
    return next(node.find(*_WRITING), None) is not None


def _select_into(select: Node) -> Iterator[Effect]:
    into = select.child("into_clause")
    target = into.child("rel") if into is not None else None
    if target is not None:
        temporary = target.text("relpersistence") == "t"
        traits = frozenset({Trait.TEMPORARY}) if temporary else frozenset[Trait]()
        yield Effect(EffectKind.CREATE_TABLE, relation(target), traits=traits)


def _insert(insert: Node) -> Iterator[Effect]:
    table = relation(insert.child("relation"))
    yield Effect(EffectKind.INSERT, table)
    conflict = insert.child("on_conflict_clause")
    if conflict is not None:
        for target in conflict.children("target_list"):
            yield Effect(
                EffectKind.UPDATE,
                table,
                target.text("name"),
                traits=frozenset({Trait.WHERE, Trait.ON_CONFLICT}),
            )


def _update(update: Node) -> Iterator[Effect]:
    table = relation(update.child("relation"))
    traits = _condition(update)
    for target in update.children("target_list"):
        yield Effect(EffectKind.UPDATE, table, target.text("name"), traits=traits)


def _merge(merge: Node) -> Iterator[Effect]:
    table = relation(merge.child("relation"))
    traits = frozenset({Trait.WHERE, Trait.ON_CONFLICT})
    for clause in merge.children("merge_when_clauses"):
        match clause.enum("command_type"):
            case "CMD_INSERT":
                yield Effect(EffectKind.INSERT, table, traits=traits)
            case "CMD_UPDATE":
                for target in clause.children("target_list"):
                    yield Effect(EffectKind.UPDATE, table, target.text("name"), traits=traits)
            case "CMD_DELETE":
                yield Effect(EffectKind.DELETE, table, traits=traits)
            case _:
                pass


def _condition(statement: Node) -> frozenset[Trait]:
    """WHERE, unless there is none or it is true for every row on sight (`WHERE true`, `WHERE 1 = 1`)."""
    where = statement.child("where_clause")
    if where is None or _always_true(where):
        return frozenset()
    return frozenset({Trait.WHERE})


def _always_true(where: Node) -> bool:
    if where.kind == "A_Const":
        truth = where.child("boolval")
        return truth is not None and truth.flag("boolval")
    if where.kind != "A_Expr" or [name.text("sval") for name in where.children("name")] != ["="]:
        return False
    left, right = where.child("lexpr"), where.child("rexpr")
    if left is None or right is None or left.kind != "A_Const" or right.kind != "A_Const":
        return False
    return any(
        left.child(field) == right.child(field) is not None for field in ("ival", "sval", "fval", "boolval")
    )
