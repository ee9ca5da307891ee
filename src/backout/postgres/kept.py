"""The kept values of an incident in the target: read, count, export, put back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from psycopg import sql

from backout.errors import Refused
from backout.model.plan import KeepHow
from backout.postgres import done
from backout.postgres.connect import Session
from backout.postgres.names import KEPT_SCHEMA, qualified

_BLOCKS_A_BATCH = 64
"""Pages of the kept table per transaction: some thousand rows, so that no lock is held for long."""


@dataclass(frozen=True, slots=True)
class KeptTable:
    """One table of kept values, from the manifest."""

    sequence: int
    relation: str
    """Qualified name of the table as it was before the down."""
    oid: int
    how: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    rows: int
    values: int
    lsn: str
    at: str
    table: str
    """Bare name in schema `backout_kept`."""

    @property
    def where(self) -> sql.Identifier:
        """The kept table for SQL."""
        return sql.Identifier(KEPT_SCHEMA, self.table)


def tables(session: Session, incident: str) -> tuple[KeptTable, ...]:
    """All kept tables of an incident, in the order in which they were kept."""
    if session.execute("SELECT pg_catalog.to_regclass('backout_kept.manifest')").fetchone() == (None,):
        return ()
    rows = session.execute(
        """SELECT seq, relation, oid::bigint, how, key_columns, columns, rows, kept_values,
                  lsn::text, at::text, kept_table
           FROM backout_kept.manifest WHERE incident = %s AND kept_table <> '' ORDER BY seq""",
        (incident,),
    ).fetchall()
    return tuple(
        KeptTable(r[0], r[1], r[2], r[3], tuple(r[4]), tuple(r[5]), r[6], r[7], r[8] or "", r[9], r[10])
        for r in rows
    )


def counts(session: Session, incident: str) -> tuple[tuple[str, int, int], ...]:
    """(kept table, rows by the manifest, rows present) for every kept table of the incident."""
    return tuple((kept.table, kept.rows, _present(session, kept)) for kept in tables(session, incident))


def _present(session: Session, kept: KeptTable) -> int:
    if session.execute("SELECT pg_catalog.to_regclass(%s)", (f"{KEPT_SCHEMA}.{kept.table}",)).fetchone() == (
        None,
    ):
        return 0
    row = session.execute(sql.SQL("SELECT count(*) FROM {}").format(kept.where)).fetchone()
    return int(row[0]) if row else 0


def values_of(session: Session, kept: KeptTable) -> tuple[tuple[str, int], ...]:
    """(column, non-NULL values kept) for each kept column that is not part of the key."""
    wanted = [column for column in kept.columns if column not in kept.key] or list(kept.columns)
    if not wanted:
        return ()
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(_counted(kept, column) for column in wanted), kept.where
    )
    row = session.execute(query).fetchone()
    assert row is not None
    return tuple((column, count) for column, count in zip(wanted, row, strict=True) if count)


def _counted(kept: KeptTable, column: str) -> sql.Composable:
    """Values of one column: of a changed row only the cells that changed (NULL before counts too)."""
    name = sql.Identifier(column)
    if kept.how != KeepHow.CHANGED_ROWS:
        return sql.SQL("count({})").format(name)
    return sql.SQL(
        "count(*) FILTER (WHERE (backout_op = 'D' AND {} IS NOT NULL)"
        " OR (backout_op = 'U' AND {} = ANY(backout_changed)))"
    ).format(name, sql.Literal(column))


def _holds(kept: KeptTable, column: str) -> sql.Composable:
    """Which kept rows hold a value of this column that can go back onto a live row."""
    if kept.how != KeepHow.CHANGED_ROWS:
        return sql.SQL("k.{} IS NOT NULL").format(sql.Identifier(column))
    return sql.SQL("k.backout_op = 'U' AND {} = ANY(k.backout_changed)").format(sql.Literal(column))


def sample(session: Session, kept: KeptTable, limit: int) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Column names and up to `limit` rows; the caller decides who may see values."""
    names = (*kept.key, *(c for c in kept.columns if c not in kept.key))
    query = sql.SQL("SELECT {} FROM {} LIMIT {}").format(
        sql.SQL(", ").join(map(sql.Identifier, names)), kept.where, sql.Literal(limit)
    )
    return names, session.execute(query).fetchall()


def export_csv(session: Session, kept: KeptTable) -> Iterator[bytes]:
    """The whole kept table as CSV with a header, in pieces."""
    query = sql.SQL("COPY {} TO STDOUT (FORMAT csv, HEADER)").format(kept.where)
    with session.cursor().copy(query) as stream:
        for piece in stream:
            yield bytes(piece)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where kept values go back to: a column of the live table, found by the oid it had before."""

    relation: str
    """Qualified name of the live table today."""
    column: str
    type: str


def destination(session: Session, kept: KeptTable, column: str) -> Destination:
    """The live column to write to.

    Raises `Refused` when the table, its key columns or the column are gone; names what is there.
    """
    found = session.execute(
        """SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE c.oid = %s::oid OR c.oid = pg_catalog.to_regclass(%s)::oid
           ORDER BY c.oid = %s::oid DESC LIMIT 1""",
        (kept.oid, kept.relation, kept.oid),
    ).fetchone()
    if found is None:
        raise Refused(
            f"{kept.relation} does not exist any more", intact="the kept values", next="backout kept export"
        )
    name = qualified(*found)
    columns: dict[str, str] = dict(
        session.execute(
            """SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod)
               FROM pg_catalog.pg_attribute a WHERE a.attrelid = %s::pg_catalog.regclass
                 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''""",
            (name,),
        ).fetchall()
    )
    missing = [key for key in (*kept.key, column) if key not in columns]
    if missing:
        raise Refused(
            f"{name} has no column {', '.join(missing)}",
            intact="the kept values and the table",
            next=f"--column OLD=NEW with one of: {', '.join(sorted(columns))}",
        )
    return Destination(name, column, columns[column])


@dataclass(frozen=True, slots=True)
class Written:
    """What one put-back did. `row_gone` = keys that no live row has; their values stay kept.
    `overwritten` of those `written` replaced a live value."""

    written: int
    row_gone: int
    already_there: int
    """Rows whose live value is not NULL (and was left alone)."""
    overwritten: int


def forecast(session: Session, kept: KeptTable, column: str, to: Destination, *, overwrite: bool) -> Written:
    """What `put_back` would do now, counted without writing."""
    query = sql.SQL(
        """SELECT count(*) FILTER (WHERE t.{key} IS NOT NULL AND t.{column} IS NULL),
                  count(*) FILTER (WHERE t.{key} IS NULL),
                  count(*) FILTER (WHERE t.{column} IS NOT NULL AND {same}),
                  count(*) FILTER (WHERE t.{column} IS NOT NULL AND NOT {same})
           FROM {kept} k LEFT JOIN {table} t ON {join} WHERE {holds}"""
    ).format(**_parts(kept, column, to))
    row = session.execute(query).fetchone()
    assert row is not None
    free, gone, same, other = row
    replaced = other if overwrite else 0
    return Written(free + replaced, gone, same + other - replaced, replaced)


def _parts(kept: KeptTable, column: str, to: Destination) -> dict[str, sql.Composable]:
    joins = [sql.SQL("t.{} = k.{}").format(sql.Identifier(c), sql.Identifier(c)) for c in kept.key]
    return {
        "key": sql.Identifier(kept.key[0]),
        "column": sql.Identifier(to.column),
        "old": sql.Identifier(column),
        "type": sql.SQL(to.type),
        "kept": kept.where,
        "holds": _holds(kept, column),
        "table": sql.SQL(to.relation),
        "join": sql.SQL(" AND ").join(joins),
        # Compared as text: json, point and others have no equality.
        "same": sql.SQL("t.{} ::text = (k.{}::{})::text").format(
            sql.Identifier(to.column), sql.Identifier(column), sql.SQL(to.type)
        ),
    }


def put_back(
    session: Session, kept: KeptTable, column: str, to: Destination, *, overwrite: bool, mark: str
) -> Iterator[tuple[int, int]]:
    """Write kept values onto their rows, a batch a transaction; yields (done, of) in batches.

    Each batch writes its mark in the same transaction, so that a resumed put-back does not resurrect what
    the application has set to NULL since. A live value that is not NULL stays unless `overwrite`.
    """
    done.ensure(session)
    blocks = _blocks(session, kept)
    total = max(1, -(-blocks // _BLOCKS_A_BATCH))
    guard = sql.SQL("") if overwrite else sql.SQL("AND t.{} IS NULL").format(sql.Identifier(to.column))
    statement = sql.SQL(
        """UPDATE {table} t SET {column} = k.{old}::{type} FROM {kept} k
           WHERE {join} AND {holds} AND ({same}) IS NOT TRUE {guard}
             AND k.ctid >= {low} AND k.ctid < {high}"""
    )
    for number in range(total):
        low, high = number * _BLOCKS_A_BATCH, (number + 1) * _BLOCKS_A_BATCH
        with session.transaction():
            if done.once(session, f"{mark}/{number}"):
                bounds = {"low": sql.Literal(f"({low},0)"), "high": sql.Literal(f"({high},0)")}
                session.execute(statement.format(**_parts(kept, column, to), **bounds, guard=guard))
        yield number + 1, total


def _blocks(session: Session, kept: KeptTable) -> int:
    row = session.execute(
        """SELECT pg_catalog.pg_relation_size(%s::pg_catalog.regclass)
                  / pg_catalog.current_setting('block_size')::int""",
        (qualified(KEPT_SCHEMA, kept.table),),
    ).fetchone()
    return int(row[0]) if row else 0


@dataclass(frozen=True, slots=True)
class Rows:
    """Whole rows that were kept: how many, and how many keys are free to take them back."""

    kept: int
    free: int


def rows_forecast(session: Session, kept: KeptTable, to: str) -> Rows:
    """What `put_rows_back` would do now; only reads."""
    joins = [sql.SQL("t.{} = k.{}").format(sql.Identifier(c), sql.Identifier(c)) for c in kept.key]
    query = sql.SQL(
        "SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (SELECT FROM {} t WHERE {})) FROM {} k WHERE {}"
    ).format(sql.SQL(to), sql.SQL(" AND ").join(joins), kept.where, _gone(kept))
    row = session.execute(query).fetchone()
    assert row is not None
    return Rows(*row)


def _gone(kept: KeptTable) -> sql.Composable:
    return sql.SQL("k.backout_op = 'D'" if kept.how == KeepHow.CHANGED_ROWS else "true")


def with_live_key(session: Session, kept: KeptTable) -> KeptTable:
    """The kept table with a key to tell its rows apart: its own, else the live table's primary key where
    all of that is kept."""
    if kept.key:
        return kept
    rows = session.execute(
        """SELECT a.attname::text FROM pg_catalog.pg_index i
           JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
           WHERE i.indrelid = pg_catalog.to_regclass(%s) AND i.indisprimary ORDER BY a.attnum""",
        (kept.relation,),
    ).fetchall()
    key = tuple(row[0] for row in rows)
    return replace(kept, key=key) if set(key) <= set(kept.columns) else kept


def live_table(session: Session, kept: KeptTable) -> str:
    """The qualified name of the table today; raises `Refused` when it is gone or has no key."""
    if not kept.key:
        raise Refused(
            f"{kept.relation} has no key: rows cannot be told apart",
            intact="the kept values",
            next="backout kept export",
        )
    return destination(session, kept, kept.key[0]).relation


def put_rows_back(session: Session, kept: KeptTable, to: str, mark: str) -> int:
    """Insert kept whole rows whose key is free, in the columns that the live table has; once per mark."""
    live = session.execute(
        """SELECT a.attname::text FROM pg_catalog.pg_attribute a
           WHERE a.attrelid = %s::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped
             AND a.attgenerated = ''""",
        (to,),
    ).fetchall()
    there = {row[0] for row in live}
    names = [c for c in dict.fromkeys((*kept.key, *kept.columns)) if c in there]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    query = sql.SQL(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} k WHERE {} ON CONFLICT DO NOTHING"
    ).format(sql.SQL(to), columns, columns, kept.where, _gone(kept))
    done.ensure(session)
    with session.transaction():
        return session.execute(query).rowcount if done.once(session, mark) else 0
