"""The effects of ALTER TABLE: one statement, many commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backout.sql.columns import referenced_table, traits_of_column, traits_of_constraint, type_words
from backout.sql.facts import Effect, EffectKind, Trait
from backout.sql.tree import Node, camel_words, relation

_BY_COLUMN: Mapping[str, EffectKind] = {
    "AT_SetNotNull": EffectKind.SET_NOT_NULL,
    "AT_DropNotNull": EffectKind.DROP_NOT_NULL,
    "AT_DropColumn": EffectKind.DROP_COLUMN,
}
_BY_NAME: Mapping[str, EffectKind] = {
    "AT_DropConstraint": EffectKind.DROP_CONSTRAINT,
    "AT_DisableTrig": EffectKind.DISABLE_TRIGGER,
    "AT_DisableTrigAll": EffectKind.DISABLE_TRIGGER,
    "AT_DisableTrigUser": EffectKind.DISABLE_TRIGGER,
    "AT_EnableReplicaTrig": EffectKind.DISABLE_TRIGGER,
    "AT_EnableTrig": EffectKind.ENABLE_TRIGGER,
    "AT_EnableTrigAll": EffectKind.ENABLE_TRIGGER,
    "AT_EnableTrigUser": EffectKind.ENABLE_TRIGGER,
    "AT_EnableAlwaysTrig": EffectKind.ENABLE_TRIGGER,
}
_METADATA: Mapping[str, str] = {
    "AT_ValidateConstraint": "VALIDATE CONSTRAINT",
    "AT_AlterConstraint": "ALTER CONSTRAINT",
    "AT_SetStatistics": "SET STATISTICS",
    "AT_SetOptions": "SET options",
    "AT_ResetOptions": "RESET options",
    "AT_SetStorage": "SET STORAGE",
    "AT_SetCompression": "SET COMPRESSION",
    "AT_ChangeOwner": "OWNER TO",
    "AT_ClusterOn": "CLUSTER ON",
    "AT_DropCluster": "SET WITHOUT CLUSTER",
    "AT_SetLogged": "SET LOGGED",
    "AT_SetUnLogged": "SET UNLOGGED",
    "AT_SetTableSpace": "SET TABLESPACE",
    "AT_SetAccessMethod": "SET ACCESS METHOD",
    "AT_SetRelOptions": "SET options",
    "AT_ResetRelOptions": "RESET options",
    "AT_ReplicaIdentity": "REPLICA IDENTITY",
    "AT_EnableRowSecurity": "ENABLE ROW LEVEL SECURITY",
    "AT_DisableRowSecurity": "DISABLE ROW LEVEL SECURITY",
    "AT_ForceRowSecurity": "FORCE ROW LEVEL SECURITY",
    "AT_NoForceRowSecurity": "NO FORCE ROW LEVEL SECURITY",
    "AT_AddIdentity": "ADD IDENTITY",
    "AT_SetIdentity": "SET IDENTITY",
    "AT_DropIdentity": "DROP IDENTITY",
    "AT_DropExpression": "DROP EXPRESSION",
}


def effects_of_alter_table(statement: Node) -> Iterator[Effect]:
    """The effects of an `AlterTableStmt`, in the order of its commands."""
    table = relation(statement.child("relation"))
    if statement.enum("objtype") == "OBJECT_TYPE":
        yield Effect(EffectKind.OTHER, table, other="ALTER TYPE of a composite type")
        return
    for command in statement.children("cmds"):
        yield from _effects_of_command(table, command)


def _effects_of_command(table: str, command: Node) -> Iterator[Effect]:
    what = command.enum("subtype")
    name = command.text("name")
    traits = _common_traits(command)
    if what == "AT_AddColumn":
        yield _add_column(table, command, traits)
    elif what == "AT_AlterColumnType":
        yield _alter_type(table, name, command, traits)
    elif what == "AT_AddConstraint":
        yield _add_constraint(table, command, traits)
    elif what == "AT_ColumnDefault":
        kind = EffectKind.DROP_DEFAULT if command.child("def") is None else EffectKind.SET_DEFAULT
        yield Effect(kind, table, name, traits=traits)
    elif what in _BY_COLUMN:
        yield Effect(_BY_COLUMN[what], table, name, traits=traits)
    elif what in _BY_NAME:
        yield Effect(_BY_NAME[what], table, other=name, traits=traits)
    elif what in _METADATA:
        yield Effect(EffectKind.METADATA, table, other=_METADATA[what], traits=traits)
    else:
        yield _other(table, what, command, traits)


def _common_traits(command: Node) -> frozenset[Trait]:
    found = set()
    if command.enum("behavior") == "DROP_CASCADE":
        found.add(Trait.CASCADE)
    if command.flag("missing_ok"):
        adds = command.enum("subtype") == "AT_AddColumn"
        found.add(Trait.IF_NOT_EXISTS if adds else Trait.IF_EXISTS)
    return frozenset(found)


def _add_column(table: str, command: Node, traits: frozenset[Trait]) -> Effect:
    column = command.child("def")
    if column is None:
        return Effect(EffectKind.OTHER, table, other="ADD COLUMN")
    keys = [referenced_table(constraint) for constraint in column.children("constraints")]
    return Effect(
        EffectKind.ADD_COLUMN,
        table,
        column.text("colname"),
        type_words(column.child("type_name")),
        traits | traits_of_column(column),
        next((relation(key) for key in keys if key is not None), ""),
    )


def _alter_type(table: str, name: str, command: Node, traits: frozenset[Trait]) -> Effect:
    column = command.child("def")
    words = type_words(column.child("type_name")) if column is not None else ""
    if column is not None and column.child("raw_default") is not None:
        traits |= {Trait.USING}
    return Effect(EffectKind.ALTER_TYPE, table, name, words, traits)


def _add_constraint(table: str, command: Node, traits: frozenset[Trait]) -> Effect:
    constraint = command.child("def")
    if constraint is None:
        return Effect(EffectKind.OTHER, table, other="ADD CONSTRAINT")
    return Effect(
        EffectKind.ADD_CONSTRAINT,
        table,
        other=constraint.text("conname"),
        traits=traits | traits_of_constraint(constraint),
        references=relation(referenced_table(constraint)),
    )


def _other(table: str, what: str, command: Node, traits: frozenset[Trait]) -> Effect:
    """ATTACH and DETACH PARTITION, INHERIT, SET EXPRESSION, ...: rows or columns come and go with them."""
    inner = command.child("def")
    if inner is not None and inner.kind == "PartitionCmd":
        if inner.flag("concurrent"):
            traits |= {Trait.CONCURRENTLY}
        partition = relation(inner.child("name"))
        return Effect(
            EffectKind.OTHER,
            table,
            other=camel_words(what.removeprefix("AT_")),
            traits=traits,
            references=partition,
        )
    return Effect(
        EffectKind.OTHER, table, command.text("name"), camel_words(what.removeprefix("AT_")), traits
    )
