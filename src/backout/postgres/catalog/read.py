"""Read the schema of a database: nine queries, whatever its size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from psycopg.pq import TransactionStatus

from backout.postgres.catalog import queries
from backout.postgres.catalog.schema import Column, Constraint, Definition, Index, Schema, Table
from backout.postgres.catalog.settled import settled
from backout.postgres.connect import Session
from backout.postgres.names import qualified


def read_schema(session: Session) -> Schema:
    """Everything users made: tables, views, functions, types, … without values.

    Left out: system schemas, objects of extensions, and the schemas of our own. Definitions come out with
    every name qualified, whatever search path the session has. Reads in one snapshot when no transaction
    is open; inside the caller's transaction it sees what that transaction did.
    """
    with _one_snapshot(session), _pinned_search_path(session):
        columns = _columns(session)
        constraints = _constraints(session)
        indexes = _indexes(session)
        relations = tuple(
            _table(row, columns, constraints, indexes) for row in _rows(session, queries.RELATIONS)
        )
        others = tuple(_definition(row) for query in queries.DEFINITIONS for row in _rows(session, query))
    return Schema(
        tables=tuple(t for t in relations if t.kind in "rpf"),
        views=tuple(t for t in relations if t.kind in "vm"),
        others=tuple(sorted(others, key=lambda d: (d.kind, d.table, d.name))),
        server_version=session.info.server_version,
    )


@contextmanager
def _one_snapshot(session: Session) -> Iterator[None]:
    if session.info.transaction_status != TransactionStatus.IDLE or not session.autocommit:
        yield
        return
    with session.transaction():
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


@contextmanager
def _pinned_search_path(session: Session) -> Iterator[None]:
    """Any other path would leave names unqualified in what pg_get_*def answer, and could be hijacked."""
    row = session.execute("SELECT pg_catalog.current_setting('search_path')").fetchone()
    assert row is not None
    if row[0] == "pg_catalog":
        yield
        return
    session.execute("SELECT pg_catalog.set_config('search_path', 'pg_catalog', false)")
    try:
        yield
    finally:
        if session.info.transaction_status != TransactionStatus.INERROR:
            session.execute("SELECT pg_catalog.set_config('search_path', %s, false)", (row[0],))


def _rows(session: Session, query: str) -> list[tuple[object, ...]]:
    return session.execute(query).fetchall()  # a constant of this package; none of it comes from outside


def _columns(session: Session) -> dict[int, list[Column]]:
    found: dict[int, list[Column]] = defaultdict(list)
    for row in _rows(session, queries.COLUMNS):
        oid, attnum, name, type_, type_oid, not_null, default, *rest = row
        generated, identity, collation, missing, storage, privileges, comment = rest
        found[_int(oid)].append(
            Column(
                attnum=_int(attnum),
                name=str(name),
                type=str(type_),
                type_oid=_int(type_oid),
                not_null=bool(not_null),
                default=settled(str(default)),
                generated=str(generated).strip(),
                identity=str(identity).strip(),
                collation=str(collation),
                has_missing=bool(missing),
                storage=str(storage),
                privileges=" ".join(sorted(str(privileges).split())),
                comment=str(comment),
            )
        )
    return found


def _constraints(session: Session) -> dict[int, list[Constraint]]:
    found: dict[int, list[Constraint]] = defaultdict(list)
    for oid, name, kind, definition, validated, comment in _rows(session, queries.CONSTRAINTS):
        text = settled(str(definition)).removesuffix(" NOT VALID")
        found[_int(oid)].append(Constraint(str(name), str(kind), text, bool(validated), str(comment)))
    return found


def _indexes(session: Session) -> dict[int, list[Index]]:
    found: dict[int, list[Index]] = defaultdict(list)
    for table, oid, name, definition, *flags, key, identity, comment in _rows(session, queries.INDEXES):
        valid, ready, primary, unique, immediate, plain = map(bool, flags)
        found[_int(table)].append(
            Index(
                oid=_int(oid),
                name=str(name),
                definition=settled(str(definition)),
                valid=valid,
                ready=ready,
                primary=primary,
                unique=unique,
                immediate=immediate,
                plain=plain,
                key=tuple(cast("list[int]", key)),
                identity=bool(identity),
                comment=str(comment),
            )
        )
    return found


def _table(
    row: tuple[object, ...],
    columns: dict[int, list[Column]],
    constraints: dict[int, list[Constraint]],
    indexes: dict[int, list[Index]],
) -> Table:
    oid, schema, name, kind, persistence, owner, privileges, comment, identity, *rest = row
    security, forced, options, parents, is_partition, bound, partition_key, definition, lent = rest
    return Table(
        oid=_int(oid),
        schema=str(schema),
        name=str(name),
        kind=str(kind),
        persistence=str(persistence),
        owner=str(owner),
        privileges=str(privileges),
        comment=str(comment),
        replica_identity=str(identity),
        identity_lent=bool(lent),
        row_security=bool(security),
        force_row_security=bool(forced),
        options=str(options),
        parents=tuple(cast("list[int]", parents)),
        is_partition=bool(is_partition),
        bound=settled(str(bound)),
        partition_key=str(partition_key),
        definition=settled(str(definition)),
        columns=tuple(columns.get(_int(oid), ())),
        constraints=tuple(constraints.get(_int(oid), ())),
        indexes=tuple(indexes.get(_int(oid), ())),
    )


_BODIES = frozenset({"function", "procedure"})  # kept verbatim by a dump, and no expressions


def _definition(row: tuple[object, ...]) -> Definition:
    kind, schema, name, suffix, table_schema, table, text, owner, privileges, comment = row
    full = qualified(str(schema), str(name)) if schema is not None else str(name)
    return Definition(
        kind=str(kind),
        name=full + str(suffix),
        table=qualified(str(table_schema), str(table)) if table is not None else "",
        text=str(text or "") if kind in _BODIES else settled(str(text or "")),
        owner=str(owner),
        privileges=str(privileges),
        comment=str(comment),
    )


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
