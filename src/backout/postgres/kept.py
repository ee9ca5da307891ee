"""The kept values of an incident in the target: read, count, export, put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from backout.errors import Refused, Stopped
from backout.model.plan import KeepHow
from backout.postgres import done
from backout.postgres.connect import Session
from backout.postgres.names import KEPT_SCHEMA, kept_prefix, qualified

_THERE = "SELECT pg_catalog.to_regclass('backout_kept.manifest')"
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
    destroyed: int
    """Values that the down destroyed here, counted in the table itself before it."""
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
    if session.execute(_THERE).fetchone() == (None,):
        return ()
    # destroyed_values is missing in a manifest of an earlier version until something is kept again
    rows = session.execute(
        """SELECT seq, relation, oid::bigint, how, key_columns, columns, rows, kept_values,
                  coalesce((pg_catalog.to_jsonb(m) ->> 'destroyed_values')::bigint, kept_values),
                  lsn::text, at::text, kept_table
           FROM backout_kept.manifest m WHERE incident = %s AND kept_table <> '' ORDER BY seq""",
        (incident,),
    ).fetchall()
    return tuple(
        KeptTable(r[0], r[1], r[2], r[3], tuple(r[4]), tuple(r[5]), r[6], r[7], r[8], r[9] or "", *r[10:12])
        for r in rows
    )


SIZE = """SELECT coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint::text
FROM pg_catalog.pg_class c
WHERE c.relnamespace = pg_catalog.to_regnamespace('backout_kept') AND c.relkind = 'r'
  AND pg_catalog.starts_with(c.relname::text, {prefix})"""
"""Bytes of all kept tables of an incident, by how their names begin; an open transaction sees its own."""


def size(session: Session, incident: str) -> int:
    """Bytes on disk of all kept tables of an incident."""
    row = session.execute(SIZE.format(prefix="%s").encode(), (kept_prefix(incident),)).fetchone()
    return int(row[0]) if row else 0


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


@dataclass(frozen=True, slots=True)
class Sample:
    """Some rows of a kept table; `types` as PostgreSQL names them."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


def sample(session: Session, kept: KeptTable, limit: int) -> Sample:
    """Up to `limit` rows; the caller decides who may see values."""
    names = (*kept.key, *(c for c in kept.columns if c not in kept.key))
    query = sql.SQL("SELECT {} FROM {} LIMIT {}").format(
        sql.SQL(", ").join(map(sql.Identifier, names)), kept.where, sql.Literal(limit)
    )
    types = _live_types(session, qualified(KEPT_SCHEMA, kept.table))
    rows = session.execute(query).fetchall()
    return Sample(names, tuple(types[name] for name in names), tuple(rows))


def drop(session: Session, incident: str) -> None:
    """Drop every kept table of an incident; the manifest goes on saying what there was. Idempotent.

    Raises `Stopped` when a table is still there afterwards.
    """
    with session.transaction():
        for kept in tables(session, incident):
            session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(kept.where))
        if session.execute(_THERE).fetchone() != (None,):
            session.execute(
                "UPDATE backout_kept.manifest SET kept_table = '' WHERE incident = %s", (incident,)
            )
    left = size(session, incident)
    if left:
        raise Stopped(
            f"{left:,} bytes of kept tables are still there after they were dropped",
            where=f"backout_kept.{kept_prefix(incident)}*",
            intact="the tables that were kept from, and what is left of the kept ones",
            next=f"backout kept list {incident}",
        )


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
    """Without its length or scale: an explicit cast to `varchar(3)` would cut a value off in silence, the
    assignment to such a column says so."""
    types: Mapping[str, str]
    """Those of all columns that can be written, by name; kept are types of the user's as text."""


def destination(session: Session, kept: KeptTable, column: str) -> Destination:
    """The live column to write to.

    Raises `Refused` when the table, its key columns or the column are gone; names what is there.
    """
    name = must_exist(session, kept)
    columns = _live_types(session, name)
    missing = [key for key in (*kept.key, column) if key not in columns]
    if missing:
        raise Refused(
            f"{name} has no column {', '.join(missing)}",
            where=f"{KEPT_SCHEMA}.{kept.table}",
            intact="the kept values and the table",
            next=f"--column OLD=NEW with one of: {', '.join(sorted(columns))}",
        )
    return Destination(name, column, columns[column], columns)


def name_today(session: Session, kept: KeptTable) -> str:
    """Qualified name of the live table, found by its oid or its name; empty when it is gone."""
    found = session.execute(
        """SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE c.oid = %s::oid OR c.oid = pg_catalog.to_regclass(%s)::oid
           ORDER BY c.oid = %s::oid DESC LIMIT 1""",
        (kept.oid, kept.relation, kept.oid),
    ).fetchone()
    return qualified(*found) if found else ""


def must_exist(session: Session, kept: KeptTable) -> str:
    """The same; raises `Refused` when the table is gone, whatever else could be said of it."""
    name = name_today(session, kept)
    if not name:
        raise Refused(
            f"{kept.relation} does not exist any more",
            where=f"{KEPT_SCHEMA}.{kept.table}",
            intact="the kept values",
            next="backout kept export",
        )
    return name


def _live_types(session: Session, table: str) -> dict[str, str]:
    rows = session.execute(
        """SELECT a.attname::text, pg_catalog.format_type(a.atttypid, NULL)
           FROM pg_catalog.pg_attribute a WHERE a.attrelid = %s::pg_catalog.regclass
             AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''""",
        (table,),
    ).fetchall()
    return {row[0]: row[1] for row in rows}


def _same_key(kept: KeptTable, types: Mapping[str, str]) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("t.{0} = k.{0}::{1}").format(sql.Identifier(c), sql.SQL(types[c])) for c in kept.key
    )


def told_apart(session: Session, kept: KeptTable) -> bool:
    """Whether the kept key names one live row: some unique index of the live table lies within it.

    A table without a key is kept with all its other columns; they find rows, not one row.
    """
    row = session.execute(
        """SELECT EXISTS (SELECT FROM pg_catalog.pg_index i
             WHERE i.indrelid = coalesce((SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid = %s::oid),
                                         pg_catalog.to_regclass(%s)::oid)
               AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
               AND NOT EXISTS (SELECT FROM pg_catalog.unnest(i.indkey[0 : i.indnkeyatts - 1]) n
                                 JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = n
                               WHERE a.attname <> ALL (%s::pg_catalog.text[])))""",
        (kept.oid, kept.relation, list(kept.key)),
    ).fetchone()
    return bool(row and row[0])


def holding(session: Session, kept: KeptTable, column: str) -> int:
    """Values of this column that could go back onto live rows."""
    row = session.execute(
        sql.SQL("SELECT pg_catalog.count(*) FROM {} k WHERE {}").format(kept.where, _holds(kept, column))
    ).fetchone()
    return int(row[0]) if row else 0


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
    with told_without_values(to.relation):
        _refuse_rounding(session, kept, column, to)
        row = session.execute(query).fetchone()
    assert row is not None
    free, gone, same, other = row
    replaced = other if overwrite else 0
    return Written(free + replaced, gone, same + other - replaced, replaced)


def _refuse_rounding(session: Session, kept: KeptTable, column: str, to: Destination) -> None:
    """Numbers and times that the live column would round: PostgreSQL does it without a word."""
    types = session.execute(
        """SELECT pg_catalog.format_type(old.oid, k.atttypmod), pg_catalog.format_type(new.oid, t.atttypmod)
           FROM pg_catalog.pg_attribute k JOIN pg_catalog.pg_type old ON old.oid = k.atttypid,
                pg_catalog.pg_attribute t JOIN pg_catalog.pg_type new ON new.oid = t.atttypid
           WHERE k.attrelid = %s::pg_catalog.regclass AND k.attname = %s
             AND t.attrelid = %s::pg_catalog.regclass AND t.attname = %s
             AND old.typcategory = new.typcategory AND new.typcategory IN ('N', 'D')""",
        (qualified(KEPT_SCHEMA, kept.table), column, to.relation, to.column),
    ).fetchone()
    if types is None:
        return
    query = sql.SQL(
        "SELECT pg_catalog.count(*) FROM {kept} k WHERE {holds} AND (k.{old}::{new}::{type}) <> k.{old}"
    ).format(
        **{**_parts(kept, column, to), "type": sql.SQL(types[0])},
        new=sql.SQL(types[1]),
    )
    row = session.execute(query).fetchone()
    if row and row[0]:
        raise Refused(
            f"{row[0]:,} kept values would be rounded in {to.relation}.{to.column} ({types[1]})",
            where=to.relation,
            intact="the kept values and the table",
            next="a wider column, or: backout kept export",
        )


def _parts(kept: KeptTable, column: str, to: Destination) -> dict[str, sql.Composable]:
    return {
        "key": sql.Identifier(kept.key[0]),
        "column": sql.Identifier(to.column),
        "old": sql.Identifier(column),
        "type": sql.SQL(to.type),
        "kept": kept.where,
        "holds": _holds(kept, column),
        "table": sql.SQL(to.relation),
        "join": _same_key(kept, to.types),
        # Compared as text: json, point and others have no equality.
        "same": sql.SQL("t.{} ::text = (k.{}::{})::text").format(
            sql.Identifier(to.column), sql.Identifier(column), sql.SQL(to.type)
        ),
    }


def put_back(
    session: Session, kept: KeptTable, column: str, to: Destination, *, overwrite: bool, mark: str
) -> Iterator[tuple[int, int, int]]:
    """Write kept values onto their rows, a batch a transaction; yields (done, of) in batches, and the rows
    that this batch wrote (for one that an earlier attempt wrote: the rows that hold the kept value now).

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
        bounds = {"low": sql.Literal(f"({low},0)"), "high": sql.Literal(f"({high},0)")}
        with told_without_values(to.relation), session.transaction():
            query = statement if done.once(session, f"{mark}/{number}") else _WRITTEN_BEFORE
            ran = session.execute(query.format(**_parts(kept, column, to), **bounds, guard=guard))
        yield number + 1, total, ran.rowcount


_WRITTEN_BEFORE = sql.SQL(
    """SELECT 1 FROM {table} t, {kept} k
       WHERE {join} AND {holds} AND ({same}) AND k.ctid >= {low} AND k.ctid < {high}"""
)


@contextmanager
def told_without_values(table: str) -> Iterator[None]:
    """A kept value that the live table refuses: said by the rule it breaks, never by the value itself.

    Raises `Refused`; the transaction around is rolled back, batches before it stay.
    """
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.RaiseException) as error:
        why = _RULES.get(error.sqlstate or "", "the server refused it")
        rule = error.diag.constraint_name or error.diag.datatype_name or error.diag.column_name or ""
        raise Refused(
            f"a kept value does not fit into {table}: {f'{why} {rule}'.strip()} ({error.sqlstate})",
            where=table,
            intact="the kept values, and what was written batch by batch before; nothing is written twice",
            next="backout kept export",
        ) from None


_RULES = {
    "22001": "too long for the type",
    "22003": "out of range for the type",
    "22P02": "it cannot be read as the type",
    "23502": "NOT NULL of column",
    "23503": "foreign key",
    "23505": "unique constraint",
    "23514": "check constraint",
    "23P01": "exclusion constraint",
}


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
    query = sql.SQL(
        "SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (SELECT FROM {} t WHERE {})) FROM {} k WHERE {}"
    ).format(sql.SQL(to), _same_key(kept, _live_types(session, to)), kept.where, _gone(kept))
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
    must_exist(session, kept)
    if not kept.key:
        raise Refused(
            f"{kept.relation} has no key: rows cannot be told apart",
            where=f"{KEPT_SCHEMA}.{kept.table}",
            intact="the kept values",
            next="backout kept export",
        )
    return destination(session, kept, kept.key[0]).relation


def put_rows_back(session: Session, kept: KeptTable, to: str, mark: str) -> int:
    """Insert kept whole rows whose key is free, in the columns that the live table has; once per mark."""
    types = _live_types(session, to)
    names = [c for c in dict.fromkeys((*kept.key, *kept.columns)) if c in types]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    values = sql.SQL(", ").join(
        sql.SQL("k.{}::{}").format(sql.Identifier(c), sql.SQL(types[c])) for c in names
    )
    query = sql.SQL(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} k WHERE {} ON CONFLICT DO NOTHING"
    ).format(sql.SQL(to), columns, values, kept.where, _gone(kept))
    done.ensure(session)
    with told_without_values(to), session.transaction():
        return session.execute(query).rowcount if done.once(session, mark) else _there(session, kept, to)


def _there(session: Session, kept: KeptTable, to: str) -> int:
    seen = rows_forecast(session, kept, to)
    return seen.kept - seen.free
