"""Why a unique index cannot be built: how many keys stand more than once; never which."""

from __future__ import annotations

import psycopg

from backout.postgres.connect import Session
from backout.postgres.names import qualified


def duplicates(session: Session) -> str:
    """One phrase for each invalid unique index whose keys are not unique: `3 keys of (email) more than once
    in public.users`. Empty when there is none, or when that cannot be counted."""
    rows = session.execute(
        """SELECT n.nspname::text, t.relname::text,
                  (SELECT pg_catalog.array_agg(pg_catalog.pg_get_indexdef(i.indexrelid, k, true) ORDER BY k)
                   FROM pg_catalog.generate_series(1, i.indnkeyatts::int) k),
                  coalesce(pg_catalog.pg_get_expr(i.indpred, i.indrelid), 'true')
           FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
           JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
           WHERE i.indisunique AND NOT i.indisvalid AND t.relkind = 'r'"""
    ).fetchall()
    told = [_told(session, qualified(schema, table), keys, where) for schema, table, keys, where in rows]
    return "; ".join(filter(None, told))


def _told(session: Session, table: str, keys: list[str], where: str) -> str:
    columns = ", ".join(keys)
    present = " AND ".join(f"({key}) IS NOT NULL" for key in keys)
    query = (
        f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE ({where}) AND {present}"  # noqa: S608 - the catalog's words
        f" GROUP BY {columns} HAVING count(*) > 1) doubled"
    )
    try:
        row = session.execute(query.encode()).fetchone()
    except psycopg.Error:
        return ""
    number = int(row[0]) if row else 0
    return (
        f"{number:,} {'key' if number == 1 else 'keys'} of ({columns}) more than once in {table}"
        if number
        else ""
    )
