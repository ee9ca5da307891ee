"""The class of a statement: may it write, may it run in a transaction, can its text be trusted to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from backout.model.statement import StatementClass
from backout.sql import functions
from backout.sql.effects import analyzes
from backout.sql.rows import writes_rows
from backout.sql.tree import Node

_FIXED: Mapping[str, StatementClass] = {
    "InsertStmt": StatementClass.WRITE,
    "UpdateStmt": StatementClass.WRITE,
    "DeleteStmt": StatementClass.WRITE,
    "MergeStmt": StatementClass.WRITE,
    "TruncateStmt": StatementClass.WRITE,
    "RefreshMatViewStmt": StatementClass.WRITE,
    "LoadStmt": StatementClass.WRITE,
    "DoStmt": StatementClass.DYNAMIC,
    "CallStmt": StatementClass.DYNAMIC,
    "ExecuteStmt": StatementClass.DYNAMIC,
    "VariableSetStmt": StatementClass.READ,
    "VariableShowStmt": StatementClass.READ,
    "PrepareStmt": StatementClass.READ,  # what it prepares runs with EXECUTE, which is DYNAMIC
    "DeallocateStmt": StatementClass.READ,
    "FetchStmt": StatementClass.READ,  # DECLARE was judged by its query
    "ClosePortalStmt": StatementClass.READ,
    "ListenStmt": StatementClass.READ,
    "UnlistenStmt": StatementClass.READ,
    "NotifyStmt": StatementClass.READ,
    "LockStmt": StatementClass.READ,  # changes nothing
    "DiscardStmt": StatementClass.READ,
    "CheckPointStmt": StatementClass.READ,
    "ConstraintsSetStmt": StatementClass.READ,
    "CreatedbStmt": StatementClass.NON_TRANSACTIONAL,
    "DropdbStmt": StatementClass.NON_TRANSACTIONAL,
    "CreateTableSpaceStmt": StatementClass.NON_TRANSACTIONAL,
    "DropTableSpaceStmt": StatementClass.NON_TRANSACTIONAL,
    "AlterSystemStmt": StatementClass.NON_TRANSACTIONAL,
}
_TRANSACTION: Mapping[str, StatementClass] = {
    "TRANS_STMT_BEGIN": StatementClass.BEGIN,
    "TRANS_STMT_START": StatementClass.BEGIN,
    "TRANS_STMT_COMMIT": StatementClass.COMMIT,
    "TRANS_STMT_PREPARE": StatementClass.COMMIT,  # after it nothing of the transaction can be checked
    "TRANS_STMT_ROLLBACK": StatementClass.ROLLBACK,
    "TRANS_STMT_SAVEPOINT": StatementClass.SAVEPOINT,
    "TRANS_STMT_RELEASE": StatementClass.SAVEPOINT,
    "TRANS_STMT_ROLLBACK_TO": StatementClass.SAVEPOINT,
    "TRANS_STMT_COMMIT_PREPARED": StatementClass.NON_TRANSACTIONAL,
    "TRANS_STMT_ROLLBACK_PREPARED": StatementClass.NON_TRANSACTIONAL,
}
_SYSTEM_OPERATORS = ("", "pg_catalog")


def class_of(node: Node) -> StatementClass:
    """The class of a statement. DDL unless something better is known, so that news errs towards care."""
    if node.kind in _FIXED:
        return _FIXED[node.kind]
    if node.kind in _JUDGES:
        return _JUDGES[node.kind](node)
    outside = _OUTSIDE.get(node.kind)
    if outside is not None and outside(node):
        return StatementClass.NON_TRANSACTIONAL
    return StatementClass.DDL


def _class_of_select(node: Node) -> StatementClass:
    """READ only when nothing in it, at any depth, locks rows, writes, or calls what we do not know."""
    reads = (
        next(node.find("IntoClause", "LockingClause"), None) is None
        and not writes_rows(node)
        and all(functions.is_read(*call.strings("funcname")) for call in node.find("FuncCall"))
        and all(_is_system_operator(operation) for operation in node.find("A_Expr"))
    )
    return StatementClass.READ if reads else StatementClass.WRITE


def _is_system_operator(operation: Node) -> bool:
    """Whether an operator is PostgreSQL's own as far as its name tells; `OPERATOR(app.+)` is not."""
    *schema, _ = operation.strings("name") or ("",)
    return "".join(schema) in _SYSTEM_OPERATORS


def _class_of_transaction(node: Node) -> StatementClass:
    return _TRANSACTION.get(node.enum("kind"), StatementClass.UNKNOWN)


def _class_of_query(node: Node) -> StatementClass:
    query = node.child("query")
    return StatementClass.UNKNOWN if query is None else class_of(query)


def _class_of_copy(node: Node) -> StatementClass:
    """COPY TO stdout reads; a program or a file of the server may be anything."""
    if node.flag("is_from") or node.flag("is_program") or node.text("filename"):
        return StatementClass.WRITE
    return StatementClass.READ if node.child("query") is None else _class_of_query(node)


def _class_of_explain(node: Node) -> StatementClass:
    return _class_of_query(node) if analyzes(node) else StatementClass.READ


_JUDGES: Mapping[str, Callable[[Node], StatementClass]] = {
    "SelectStmt": _class_of_select,
    "TransactionStmt": _class_of_transaction,
    "CopyStmt": _class_of_copy,
    "ExplainStmt": _class_of_explain,
    "DeclareCursorStmt": _class_of_query,
}


def _has_option(node: Node, field: str, name: str) -> bool:
    return any(option.text("defname") == name for option in node.children(field))


def _is_off(node: Node, name: str) -> bool:
    """Whether the option `name` is given and switched off."""
    for option in node.children("options"):
        argument = option.child("arg")
        if option.text("defname") == name and argument is not None:
            word = argument.text("sval") if argument.kind == "String" else ""
            off = argument.kind == "Boolean" and not argument.flag("boolval")
            return off or word.lower() in ("false", "off", "none", "0")
    return False


def _reindexes_outside(node: Node) -> bool:
    whole = ("REINDEX_OBJECT_DATABASE", "REINDEX_OBJECT_SYSTEM", "REINDEX_OBJECT_SCHEMA")
    return _has_option(node, "params", "concurrently") or node.enum("kind") in whole


def _detaches_concurrently(node: Node) -> bool:
    return any(
        command.enum("subtype") == "AT_DetachPartition" and partition.flag("concurrent")
        for command in node.children("cmds")
        for partition in command.find("PartitionCmd")
    )


def _makes_slot(node: Node) -> bool:
    return not (_is_off(node, "create_slot") or _is_off(node, "connect"))


def _moves_database(node: Node) -> bool:
    return _has_option(node, "options", "tablespace")


def _clusters_all(node: Node) -> bool:
    return node.child("relation") is None


def _refreshes(node: Node) -> bool:
    kind = node.enum("kind")
    return "REFRESH" in kind or (kind.endswith("_PUBLICATION") and not _is_off(node, "refresh"))


def _always(node: Node) -> bool:
    return True


_OUTSIDE: Mapping[str, Callable[[Node], bool]] = {
    "IndexStmt": lambda node: node.flag("concurrent"),
    "DropStmt": lambda node: node.flag("concurrent"),
    "VacuumStmt": lambda node: node.flag("is_vacuumcmd"),
    "ReindexStmt": _reindexes_outside,
    "AlterTableStmt": _detaches_concurrently,
    "ClusterStmt": _clusters_all,
    "AlterDatabaseStmt": _moves_database,
    "CreateSubscriptionStmt": _makes_slot,
    "AlterSubscriptionStmt": _refreshes,
    "DropSubscriptionStmt": _always,
}
