"""Is a database consistent in itself: rows readable, keys unique in the heap, parents there, sequences ahead.

What a restored copy is asked without any configuration. Each question is one query with a time limit; one
that cannot be answered says so and stops nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import sql

from backout.postgres.asking import attempt
from backout.postgres.connect import Session
from backout.postgres.names import STATE_SCHEMA, qualified, quoted

PATIENCE_SECONDS = 1800.0
"""How long one question may take."""
_MOST = 1000
"""Rows that are counted of one violation; more are `_MOST` and said so."""
_OURS = f"(n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', '{STATE_SCHEMA}'))"


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows of one table; `error` is why it cannot be read whole."""

    table: str
    rows: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold. `count` is at most 1000; `error` is why it could not be looked at."""

    name: str
    count: int
    error: str = ""
    declared: bool = True
    """False for a foreign key that is not validated: PostgreSQL itself promises nothing."""


def tables(session: Session) -> tuple[str, ...]:
    """Every ordinary user table (of a partitioned one its leaves), qualified."""
    rows = session.execute(
        f"""SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {_OURS} ORDER BY 1, 2"""  # noqa: S608
    ).fetchall()
    return tuple(qualified(*row) for row in rows)


def estimates(session: Session) -> dict[str, int]:
    """Live rows by table as the statistics have them; a table that was never analysed is left out."""
    rows = session.execute(
        f"""SELECT n.nspname::text, c.relname::text,
                   greatest(c.reltuples, pg_catalog.pg_stat_get_live_tuples(c.oid))::bigint
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r' AND {_OURS}
              AND (c.reltuples >= 0 OR pg_catalog.pg_stat_get_live_tuples(c.oid) > 0)"""  # noqa: S608
    ).fetchall()
    return {qualified(schema, name): rows for schema, name, rows in rows}


def count(session: Session, table: str) -> Counted:
    """Read a whole table, its rows counted from the heap."""
    with _limited(session, heap_only=True):
        rows, error = attempt(lambda: _one(session, sql.SQL("SELECT count(*) FROM ONLY {}"), table))
    return Counted(table, rows or 0, error)


@dataclass(frozen=True, slots=True)
class _ForeignKey:
    name: str
    child: str
    parent: str
    pairs: tuple[tuple[str, str, str], ...]
    """(column of the child, operator, column of the parent)."""
    validated: bool


def orphans(session: Session) -> tuple[int, tuple[Finding, ...]]:
    """How many foreign keys were looked at, and those whose rows have no parent or that could not be."""
    keys = _foreign_keys(session)
    found = (_orphans(session, key) for key in keys)
    return len(keys), tuple(one for one in found if one.count or one.error)


def not_validated(session: Session) -> tuple[str, ...]:
    """Foreign keys whose old rows PostgreSQL never looked at."""
    return tuple(key.name for key in _foreign_keys(session) if not key.validated)


def _foreign_keys(session: Session) -> tuple[_ForeignKey, ...]:
    """All but those over a period, whose parents are found by another rule than equality."""
    rows = session.execute(
        f"""SELECT k.conname::text, n.nspname::text, c.relname::text, c.relkind::text, pn.nspname::text,
                   p.relname::text, p.relkind::text, k.convalidated,
                   (SELECT pg_catalog.array_agg(a.attname::text ORDER BY u.at)
                    FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY u(num, at)
                    JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num),
                   (SELECT pg_catalog.array_agg(a.attname::text ORDER BY u.at)
                    FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY u(num, at)
                    JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num),
                   (SELECT pg_catalog.array_agg(pg_catalog.quote_ident(s.nspname) || '.' || o.oprname
                                                ORDER BY u.at)
                    FROM pg_catalog.unnest(k.conpfeqop) WITH ORDINALITY u(op, at)
                    JOIN pg_catalog.pg_operator o ON o.oid = u.op
                    JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace)
            FROM pg_catalog.pg_constraint k
            JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
            JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
            WHERE k.contype = 'f' AND k.conparentid = 0 AND {_OURS}
              AND pg_catalog.pg_get_constraintdef(k.oid) !~ '\\mPERIOD\\M'
            ORDER BY 2, 3, 1"""  # noqa: S608
    ).fetchall()
    return tuple(_foreign_key(row) for row in rows)


def _foreign_key(row: tuple[object, ...]) -> _ForeignKey:
    name, schema, child, child_kind, parent_schema, parent, parent_kind, validated, own, other, operators = (
        row
    )
    return _ForeignKey(
        f"{quoted(str(name))} on {qualified(str(schema), str(child))}",
        _from(str(schema), str(child), str(child_kind)),
        _from(str(parent_schema), str(parent), str(parent_kind)),
        tuple(zip(own, operators, other, strict=True)),  # type: ignore[call-overload]
        bool(validated),
    )


def _from(schema: str, name: str, kind: str) -> str:
    """The rows that a foreign key is about: those of a partitioned table with its leaves, else its own."""
    return qualified(schema, name) if kind == "p" else f"ONLY {qualified(schema, name)}"


def _orphans(session: Session, key: _ForeignKey) -> Finding:
    given = sql.SQL(" AND ").join(
        sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(own)) for own, _, _ in key.pairs
    )
    same = sql.SQL(" AND ").join(
        sql.SQL("p.{} OPERATOR({}) c.{}").format(
            sql.Identifier(other),
            sql.SQL(operator),
            sql.Identifier(own),
        )
        for own, operator, other in key.pairs
    )
    query = sql.SQL(
        """SELECT count(*) FROM (SELECT 1 FROM {} c WHERE {} AND NOT EXISTS (SELECT 1 FROM {} p WHERE {})
                                 LIMIT {}) q"""
    ).format(sql.SQL(key.child), given, sql.SQL(key.parent), same, sql.Literal(_MOST))
    with _limited(session):
        found, error = attempt(lambda: _value(session, query))
    return Finding(key.name, found or 0, error, key.validated)


def duplicates(session: Session) -> tuple[int, tuple[Finding, ...]]:
    """How many unique indexes were looked at, and those whose keys stand in the heap twice (or that could
    not be looked at). The heap is read, never the index: the index is what is in question."""
    rows = session.execute(_UNIQUE).fetchall()
    found = (_duplicates(session, *row) for row in rows)
    return len(rows), tuple(one for one in found if one.count or one.error)


_UNIQUE = f"""
SELECT n.nspname::text, t.relname::text, c.relname::text,
       (SELECT pg_catalog.array_agg(
                 '(' || pg_catalog.pg_get_indexdef(i.indexrelid, k, true) || ')'
                 || coalesce((SELECT ' COLLATE ' || pg_catalog.quote_ident(ln.nspname) || '.'
                                     || pg_catalog.quote_ident(l.collname)
                              FROM pg_catalog.pg_collation l
                              JOIN pg_catalog.pg_namespace ln ON ln.oid = l.collnamespace
                              WHERE l.oid = i.indcollation[k - 1]), '') ORDER BY k)
        FROM pg_catalog.generate_series(1, i.indnkeyatts) k),
       coalesce(pg_catalog.pg_get_expr(i.indpred, i.indrelid, true), 'true'),
       coalesce((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = c.relam AND m.amname = 'btree'
JOIN pg_catalog.pg_class t ON t.oid = i.indrelid AND t.relkind = 'r'
JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
WHERE i.indisunique AND i.indisvalid AND {_OURS}
ORDER BY 1, 2, 3"""  # noqa: S608


def _duplicates(
    session: Session, schema: str, table: str, index: str, keys: list[str], where: str, nulls_equal: bool
) -> Finding:
    """`keys`, each with the collation by which the index tells them apart, and `where` come as SQL."""
    given = "" if nulls_equal else "".join(f" AND {key} IS NOT NULL" for key in keys)
    text = (
        f"SELECT count(*) FROM (SELECT 1 FROM ONLY {qualified(schema, table)} WHERE ({where}){given} "  # noqa: S608
        f"GROUP BY {', '.join(keys)} HAVING count(*) > 1 LIMIT {_MOST}) q"
    )
    with _limited(session, heap_only=True):
        found, error = attempt(lambda: _value(session, sql.SQL(text)))
    return Finding(f"{quoted(index)} on {qualified(schema, table)}", found or 0, error)


def behind(session: Session) -> tuple[int, tuple[Finding, ...]]:
    """How many sequences fill a column, and those that would give out a value that is there or was passed."""
    rows = session.execute(
        f"""SELECT sn.nspname::text, s.relname::text, n.nspname::text, c.relname::text, a.attname::text
            FROM pg_catalog.pg_depend d
            JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
            JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
            JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid AND q.seqincrement > 0
            JOIN pg_catalog.pg_class c ON c.oid = d.refobjid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
              AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0
              AND a.atttypid IN (20, 21, 23) AND {_OURS}
            ORDER BY 1, 2"""  # noqa: S608
    ).fetchall()
    found = (_behind(session, *row) for row in rows)
    return len(rows), tuple(one for one in found if one.count or one.error)


def _behind(session: Session, of: str, sequence: str, schema: str, table: str, column: str) -> Finding:
    query = sql.SQL(
        """SELECT greatest(0, (SELECT pg_catalog.max({column}) FROM {table})
                              - (s.last_value + s.is_called::int) + 1)
           FROM {sequence} s"""
    ).format(
        column=sql.Identifier(column),
        table=sql.Identifier(schema, table),
        sequence=sql.Identifier(of, sequence),
    )
    with _limited(session):
        found, error = attempt(lambda: _value(session, query))
    name = f"{qualified(of, sequence)} of {qualified(schema, table)}.{quoted(column)}"
    return Finding(name, found or 0, error)


def _one(session: Session, query: sql.SQL, table: str) -> int:
    return _value(session, query.format(sql.SQL(table)))


def _value(session: Session, query: sql.SQL | sql.Composed) -> int:
    row = session.execute(query).fetchone()
    assert row is not None
    return int(row[0])


_INDEX_SCANS = ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")


@contextmanager
def _limited(session: Session, *, heap_only: bool = False) -> Iterator[None]:
    """A time limit for one question, and no index beside the heap where the heap is in question."""
    settings = {"statement_timeout": str(int(PATIENCE_SECONDS * 1000))}
    settings |= dict.fromkeys(_INDEX_SCANS, "off") if heap_only else {}
    before = {name: _shown(session, name) for name in settings}
    _set(session, settings)
    try:
        yield
    finally:
        _set(session, before)


def _shown(session: Session, name: str) -> str:
    row = session.execute("SELECT pg_catalog.current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])


def _set(session: Session, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        session.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))


def read_back(session: Session, names: tuple[str, ...]) -> dict[str, str]:
    """Settings of the server; one that this role or database has set for itself is left out."""
    rows = session.execute(
        """SELECT name, setting FROM pg_catalog.pg_settings
           WHERE name = ANY(%s) AND source NOT IN ('database', 'user', 'database user')""",
        (list(names),),
    ).fetchall()
    return {str(name): str(value) for name, value in rows}


Look = Callable[[Session], tuple[int, tuple[Finding, ...]]]
"""`orphans`, `duplicates` or `behind`."""
