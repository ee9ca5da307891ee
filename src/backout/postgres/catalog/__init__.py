"""What the catalog says of a database: its schema, read once, compared and digested."""

from backout.postgres.catalog.compare import differences, digest, order_changes, portable, portable_digest
from backout.postgres.catalog.facts import Dependant, TableSize, dependants, table_sizes
from backout.postgres.catalog.read import read_schema
from backout.postgres.catalog.schema import (
    Column,
    Constraint,
    Definition,
    Index,
    Schema,
    Table,
    key_of,
    keys_of,
)

__all__ = [
    "Column",
    "Constraint",
    "Definition",
    "Dependant",
    "Index",
    "Schema",
    "Table",
    "TableSize",
    "dependants",
    "differences",
    "digest",
    "key_of",
    "keys_of",
    "order_changes",
    "portable",
    "portable_digest",
    "read_schema",
    "table_sizes",
]
