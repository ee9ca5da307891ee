"""Fingerprints of rows: the same number for the same contents, on every version from 12 to 18.

A row's fingerprint is `hash_array_extended(ARRAY[record_send(ROW(…))], seed)`: 64 bits over the bytes that
PostgreSQL itself would send. The obvious choices are unsafe: `hash_record_extended` is linear across
columns (values that change places between two rows cancel in a sum) and hashes enums by oid, and
`hashint8extended` folds 64 bits to 32. `record_send` writes oids of types, so whatever has no fixed oid
(enums, composites, extension types, arrays of those) goes in as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import psycopg
from psycopg import sql

from backout.postgres.catalog import Column, Table
from backout.postgres.connect import Session

# Types whose binary form holds the oid of another object, which differs between two databases.
_FIRST_UNSTABLE_OID = 10000
_REGISTRY_TYPES = [
    *("regclass", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator"),
    *("regproc", "regprocedure", "regrole", "regtype"),
]

TOO_LARGE = (psycopg.errors.ProgramLimitExceeded, psycopg.errors.InternalError_)
"""What the server raises when the binary form of one row passes 1 GB; then hash it `wide`."""


@dataclass(frozen=True, slots=True)
class Form:
    """How the values of one type enter a fingerprint."""

    cast: str
    """Type to cast to, as the server writes it (quoted and qualified); empty = as they are."""

    def of(self, expression: sql.Composable) -> sql.Composable:
        """The expression in this form."""
        if not self.cast:
            return expression
        return sql.SQL("({})::{}").format(expression, sql.SQL(self.cast))


RAW = Form("")
TEXT = Form("pg_catalog.text")


def forms_of(session: Session, type_oids: Iterable[int]) -> dict[int, Form]:
    """The form of each type: raw when its oid is fixed for ever and it can be sent, a domain as its base
    type, everything else as text."""
    rows = session.execute(
        """WITH RECURSIVE chain(asked, oid) AS (
             SELECT t.oid, t.oid FROM pg_catalog.pg_type t WHERE t.oid = ANY(%(asked)s::oid[])
             UNION ALL
             SELECT c.asked, t.typbasetype FROM chain c
             JOIN pg_catalog.pg_type t ON t.oid = c.oid WHERE t.typtype = 'd')
           SELECT c.asked::bigint, c.oid <> c.asked, pg_catalog.format_type(t.oid, NULL),
                  t.oid < %(limit)s::oid AND t.typsend <> 0 AND NOT t.typname = ANY(%(registry)s::name[])
                  AND (e.oid IS NULL OR (e.oid < %(limit)s::oid AND e.typsend <> 0 AND e.typtype <> 'd'
                                         AND NOT e.typname = ANY(%(registry)s::name[])))
           FROM chain c JOIN pg_catalog.pg_type t ON t.oid = c.oid
           LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typelem <> 0 AND t.typlen = -1
           WHERE t.typtype <> 'd'""",
        {"asked": list(set(type_oids)), "limit": _FIRST_UNSTABLE_OID, "registry": _REGISTRY_TYPES},
    ).fetchall()
    return {
        oid: (Form(base) if is_domain else RAW) if sendable else TEXT
        for oid, is_domain, base, sendable in rows
    }


def row_hash(values: Sequence[sql.Composable], seed: int, *, wide: bool = False) -> sql.Composable:
    """The 64-bit fingerprint of a row of these values, in this order.

    `wide` hashes each value first, for rows whose binary form would pass 1 GB; both sides of a comparison
    must use the same.
    """
    parts = [_hash([value], seed) for value in values] if wide else list(values)
    return _hash(parts, seed)


def _hash(values: Sequence[sql.Composable], seed: int) -> sql.Composable:
    return sql.SQL("pg_catalog.hash_array_extended(ARRAY[pg_catalog.record_send(ROW({}))], {})").format(
        sql.SQL(", ").join(values), sql.Literal(seed)
    )


def text_hash(value: sql.Composable, seed: int) -> sql.Composable:
    """64 bits over the text form of one cell; NULL stays NULL. The collation is C, because a hash under a
    non-deterministic collation would fold values that differ."""
    return sql.SQL('pg_catalog.hashtextextended(({})::pg_catalog.text COLLATE "C", {})').format(
        value, sql.Literal(seed)
    )


@dataclass(frozen=True, slots=True)
class KeyBytes:
    """The identity of a row as bytes of fixed length, ordered as bytes and never by a collation."""

    expression: sql.Composable
    length: int


_INTEGERS = frozenset({"smallint", "integer", "bigint"})


def key_bytes(values: Sequence[sql.Composable], types: Sequence[str]) -> KeyBytes:
    """8 bytes for an integer key, 16 for a uuid and for the digest of anything else.

    `values` are already in their form; `types` are the types they have (`format_type`), the same on both
    sides.
    """
    if len(values) == 1 and types[0] in _INTEGERS:
        return KeyBytes(sql.SQL("pg_catalog.int8send(({})::bigint)").format(values[0]), 8)
    if len(values) == 1 and types[0] == "uuid":
        return KeyBytes(sql.SQL("pg_catalog.uuid_send({})").format(values[0]), 16)
    digest = "pg_catalog.decode(pg_catalog.md5(pg_catalog.record_send(ROW({}))), 'hex')"
    return KeyBytes(sql.SQL(digest).format(sql.SQL(", ").join(values)), 16)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Of a whole table: equal contents give equal fingerprints, whatever the order of rows."""

    rows: int
    total: int
    """Exact sum of the rows' 64-bit fingerprints (not reduced)."""


def table_fingerprint(session: Session, table: Table, columns: Sequence[Column], seed: int) -> Fingerprint:
    """Rows and sum over a table (with its partitions); columns enter in the order of their names.

    A different `seed` in every run (the same on both sides) keeps anybody from preparing a collision.
    """
    forms = forms_of(session, (column.type_oid for column in columns))
    values = [
        forms[column.type_oid].of(sql.Identifier(column.name))
        for column in sorted(columns, key=lambda column: column.name)
    ]
    try:
        with session.transaction():
            return _sum(session, table, row_hash(values, seed))
    except TOO_LARGE:
        return _sum(session, table, row_hash(values, seed, wide=True))


def _sum(session: Session, table: Table, value: sql.Composable) -> Fingerprint:
    only = sql.SQL("" if table.kind == "p" else "ONLY ")
    row = session.execute(
        sql.SQL("SELECT pg_catalog.count(*), coalesce(pg_catalog.sum({}), 0) FROM {}{}").format(
            value, only, sql.Identifier(table.schema, table.name)
        )
    ).fetchone()
    assert row is not None
    rows, total = row
    assert isinstance(rows, int)
    assert isinstance(total, Decimal)
    return Fingerprint(rows, int(total))
