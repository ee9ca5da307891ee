"""Command tags: what PostgreSQL calls a statement when it reports that it was done."""

from __future__ import annotations

from collections.abc import Mapping

from backout.sql.tree import Node, camel_words, object_words

_SIMPLE: Mapping[str, str] = {
    "InsertStmt": "INSERT",
    "UpdateStmt": "UPDATE",
    "DeleteStmt": "DELETE",
    "MergeStmt": "MERGE",
    "CopyStmt": "COPY",
    "TruncateStmt": "TRUNCATE TABLE",
    "CreateStmt": "CREATE TABLE",
    "CreateForeignTableStmt": "CREATE FOREIGN TABLE",
    "IndexStmt": "CREATE INDEX",
    "ViewStmt": "CREATE VIEW",
    "CreateEnumStmt": "CREATE TYPE",
    "CompositeTypeStmt": "CREATE TYPE",
    "CreateRangeStmt": "CREATE TYPE",
    "CreateDomainStmt": "CREATE DOMAIN",
    "AlterEnumStmt": "ALTER TYPE",
    "AlterTypeStmt": "ALTER TYPE",
    "AlterDomainStmt": "ALTER DOMAIN",
    "CreateTrigStmt": "CREATE TRIGGER",
    "CreateEventTrigStmt": "CREATE EVENT TRIGGER",
    "CreateExtensionStmt": "CREATE EXTENSION",
    "AlterExtensionStmt": "ALTER EXTENSION",
    "CreateSchemaStmt": "CREATE SCHEMA",
    "CreateSeqStmt": "CREATE SEQUENCE",
    "AlterSeqStmt": "ALTER SEQUENCE",
    "CreatePolicyStmt": "CREATE POLICY",
    "AlterPolicyStmt": "ALTER POLICY",
    "CreateStatsStmt": "CREATE STATISTICS",
    "RuleStmt": "CREATE RULE",
    "CommentStmt": "COMMENT",
    "AlterDefaultPrivilegesStmt": "ALTER DEFAULT PRIVILEGES",
    "CreatedbStmt": "CREATE DATABASE",
    "DropdbStmt": "DROP DATABASE",
    "AlterDatabaseStmt": "ALTER DATABASE",
    "AlterDatabaseSetStmt": "ALTER DATABASE",
    "AlterDatabaseRefreshCollStmt": "ALTER DATABASE",
    "CreateTableSpaceStmt": "CREATE TABLESPACE",
    "DropTableSpaceStmt": "DROP TABLESPACE",
    "AlterSystemStmt": "ALTER SYSTEM",
    "CreateRoleStmt": "CREATE ROLE",
    "AlterRoleStmt": "ALTER ROLE",
    "AlterRoleSetStmt": "ALTER ROLE",
    "DropRoleStmt": "DROP ROLE",
    "CreatePublicationStmt": "CREATE PUBLICATION",
    "AlterPublicationStmt": "ALTER PUBLICATION",
    "CreateSubscriptionStmt": "CREATE SUBSCRIPTION",
    "AlterSubscriptionStmt": "ALTER SUBSCRIPTION",
    "DropSubscriptionStmt": "DROP SUBSCRIPTION",
    "DropOwnedStmt": "DROP OWNED",
    "ReassignOwnedStmt": "REASSIGN OWNED",
    "ClusterStmt": "CLUSTER",
    "ReindexStmt": "REINDEX",
    "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW",
    "DoStmt": "DO",
    "CallStmt": "CALL",
    "ExecuteStmt": "EXECUTE",
    "PrepareStmt": "PREPARE",
    "DeallocateStmt": "DEALLOCATE",
    "ExplainStmt": "EXPLAIN",
    "DeclareCursorStmt": "DECLARE CURSOR",
    "ClosePortalStmt": "CLOSE CURSOR",
    "ListenStmt": "LISTEN",
    "UnlistenStmt": "UNLISTEN",
    "NotifyStmt": "NOTIFY",
    "LockStmt": "LOCK TABLE",
    "LoadStmt": "LOAD",
    "DiscardStmt": "DISCARD",
    "CheckPointStmt": "CHECKPOINT",
    "ConstraintsSetStmt": "SET CONSTRAINTS",
    "VariableShowStmt": "SHOW",
    "AlterEventTrigStmt": "ALTER EVENT TRIGGER",
    "AlterExtensionContentsStmt": "ALTER EXTENSION",
    "CreateFdwStmt": "CREATE FOREIGN DATA WRAPPER",
    "AlterFdwStmt": "ALTER FOREIGN DATA WRAPPER",
    "CreateForeignServerStmt": "CREATE SERVER",
    "AlterForeignServerStmt": "ALTER SERVER",
    "CreateOpClassStmt": "CREATE OPERATOR CLASS",
    "CreateOpFamilyStmt": "CREATE OPERATOR FAMILY",
    "AlterOpFamilyStmt": "ALTER OPERATOR FAMILY",
    "CreateAmStmt": "CREATE ACCESS METHOD",
    "CreatePLangStmt": "CREATE LANGUAGE",
    "AlterStatsStmt": "ALTER STATISTICS",
    "AlterTableMoveAllStmt": "ALTER TABLE",
    "AlterTableSpaceOptionsStmt": "ALTER TABLESPACE",
    "AlterTSConfigurationStmt": "ALTER TEXT SEARCH CONFIGURATION",
    "AlterTSDictionaryStmt": "ALTER TEXT SEARCH DICTIONARY",
    "SecLabelStmt": "SECURITY LABEL",
}
_TRANSACTION: Mapping[str, str] = {
    "TRANS_STMT_BEGIN": "BEGIN",
    "TRANS_STMT_START": "START TRANSACTION",
    "TRANS_STMT_COMMIT": "COMMIT",
    "TRANS_STMT_ROLLBACK": "ROLLBACK",
    "TRANS_STMT_SAVEPOINT": "SAVEPOINT",
    "TRANS_STMT_RELEASE": "RELEASE",
    "TRANS_STMT_ROLLBACK_TO": "ROLLBACK",
    "TRANS_STMT_PREPARE": "PREPARE TRANSACTION",
    "TRANS_STMT_COMMIT_PREPARED": "COMMIT PREPARED",
    "TRANS_STMT_ROLLBACK_PREPARED": "ROLLBACK PREPARED",
}
_OBJECT: Mapping[str, str] = {
    "OBJECT_MATVIEW": "MATERIALIZED VIEW",
    "OBJECT_TABCONSTRAINT": "TABLE",
    "OBJECT_COLUMN": "TABLE",
    "OBJECT_ATTRIBUTE": "TYPE",
    "OBJECT_DOMCONSTRAINT": "DOMAIN",
    "OBJECT_STATISTIC_EXT": "STATISTICS",
    "OBJECT_FDW": "FOREIGN DATA WRAPPER",
    "OBJECT_FOREIGN_SERVER": "SERVER",
    "OBJECT_OPCLASS": "OPERATOR CLASS",
    "OBJECT_OPFAMILY": "OPERATOR FAMILY",
    "OBJECT_TSCONFIGURATION": "TEXT SEARCH CONFIGURATION",
    "OBJECT_TSDICTIONARY": "TEXT SEARCH DICTIONARY",
}


_BY_FLAG: Mapping[str, tuple[str, str, str]] = {
    "CreateFunctionStmt": ("is_procedure", "CREATE PROCEDURE", "CREATE FUNCTION"),
    "FetchStmt": ("ismove", "MOVE", "FETCH"),
    "VacuumStmt": ("is_vacuumcmd", "VACUUM", "ANALYZE"),
    "GrantStmt": ("is_grant", "GRANT", "REVOKE"),
    "GrantRoleStmt": ("is_grant", "GRANT ROLE", "REVOKE ROLE"),
}


def tag_of(node: Node) -> str:
    """The command tag of a statement; for kinds without a line of their own, made from the node's name."""
    if node.kind in _SIMPLE:
        return _SIMPLE[node.kind]
    if node.kind in _BY_FLAG:
        flag, tag, otherwise = _BY_FLAG[node.kind]
        return tag if node.flag(flag) else otherwise
    match node.kind:
        case "SelectStmt":
            return "SELECT" if node.child("into_clause") is None else "SELECT INTO"
        case "TransactionStmt":
            return _TRANSACTION.get(node.enum("kind"), "")
        case "CreateTableAsStmt":
            return "CREATE TABLE AS" if node.enum("objtype") == "OBJECT_TABLE" else "CREATE MATERIALIZED VIEW"
        case "VariableSetStmt":
            return "RESET" if node.enum("kind") in ("VAR_RESET", "VAR_RESET_ALL") else "SET"
        case _:
            return _by_object(node)


_OBJECT_FIELDS: Mapping[str, tuple[str, str]] = {
    "DropStmt": ("DROP", "remove_type"),
    "AlterTableStmt": ("ALTER", "objtype"),
    "RenameStmt": ("ALTER", "rename_type"),
    "AlterObjectSchemaStmt": ("ALTER", "object_type"),
    "AlterOwnerStmt": ("ALTER", "object_type"),
    "AlterFunctionStmt": ("ALTER", "objtype"),
    "AlterObjectDependsStmt": ("ALTER", "object_type"),
    "DefineStmt": ("CREATE", "kind"),
}


def _by_object(node: Node) -> str:
    if node.kind not in _OBJECT_FIELDS:
        return _from_name(node.kind)
    verb, field = _OBJECT_FIELDS[node.kind]
    if node.kind == "RenameStmt" and node.enum(field) == "OBJECT_COLUMN":
        field = "relation_type"
    what = node.enum(field)
    return f"{verb} {_OBJECT.get(what) or object_words(what)}"


def _from_name(kind: str) -> str:
    """`CreateUserMappingStmt` as `CREATE USER MAPPING`."""
    return camel_words(kind.removesuffix("Stmt"))
