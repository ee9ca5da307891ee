"""What the catalog says of each table that might be captured; asked once, without a lock on any of them."""

# ruff: noqa: S608 - everything spliced into these queries is a constant of this module

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backout.postgres.connect import Session
from backout.postgres.names import qualified


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One ordinary table, leaf, or partitioned table."""

    oid: int
    name: str
    """Quoted and schema-qualified."""
    kind: str
    """`relkind`: `r` or `p`."""
    root: int
    """oid of the topmost partitioned table of a leaf; its own for all others."""
    unlogged: bool
    identity: str
    """`relreplident`."""
    owned: bool
    primary_key: str
    """`immediate`, `deferrable`, or empty without one."""
    identity_index: str
    """The index that is the replica identity, when one was chosen."""
    fit_index: str
    """A unique index that could be chosen: immediate, whole, over NOT NULL columns; empty = none."""
    row_bytes: int
    """Average row as the planner knows it, with what lies in TOAST; 0 = never analysed."""
    toast_bytes: int
    changes: int
    """Rows updated or deleted since the statistics began."""
    full_fails: bool
    """With REPLICA IDENTITY FULL the application's own updates would fail: from 18 on an identity must not
    hold generated columns, unless they are published."""

    @property
    def usable(self) -> bool:
        """Whether an UPDATE or DELETE may be published: without it the application's own would fail."""
        match self.identity:
            case "f":
                return not self.full_fails
            case "i":
                return bool(self.identity_index)
            case "d":
                return self.primary_key == "immediate"
            case _:
                return False


_OF_EXTENSION = """EXISTS (SELECT 1 FROM pg_depend e WHERE e.objid = c.oid AND e.deptype = 'e'
                           AND e.classid = 'pg_class'::regclass)"""
_OF_USERS = rf"n.nspname !~ '^(pg_|information_schema$|backout(_kept)?$)' AND NOT {_OF_EXTENSION}"
_TABLES = rf"""
SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text,
       coalesce(pg_partition_root(c.oid)::oid, c.oid)::bigint, c.relpersistence = 'u', c.relreplident::text,
       pg_has_role(c.relowner, 'USAGE'),
       CASE WHEN k.indimmediate THEN 'immediate' WHEN k.indexrelid IS NOT NULL THEN 'deferrable' ELSE '' END,
       coalesce((SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                 WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid), ''),
       coalesce((SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                 WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
                   AND i.indpred IS NULL AND i.indexprs IS NULL
                   AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid
                                   AND a.attnum = ANY(i.indkey::int2[]) AND NOT a.attnotnull)
                 ORDER BY i.indexrelid LIMIT 1), ''),
       (coalesce((SELECT sum(s.avg_width) FROM pg_stats s WHERE s.schemaname = n.nspname
                  AND s.tablename = c.relname AND NOT s.inherited), 0)
        + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)) / nullif(greatest(c.reltuples, 0), 0), 0)
       )::bigint,
       coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0)::bigint,
       coalesce(u.n_tup_upd + u.n_tup_del, 0)::bigint,
       current_setting('server_version_num')::int >= 180000
       AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
                   AND NOT a.attisdropped AND a.attgenerated <> '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index k ON k.indrelid = c.oid AND k.indisprimary
LEFT JOIN pg_stat_all_tables u ON u.relid = c.oid
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {_OF_USERS}
ORDER BY n.nspname, c.relname
"""


def read_tables(session: Session) -> tuple[TableFacts, ...]:
    """Every table of users, with its leaves."""
    rows = session.execute(_TABLES.encode()).fetchall()
    return tuple(TableFacts(row[0], qualified(row[1], row[2]), *row[3:]) for row in rows)


_UNSEEN = rf"""
SELECT 'large object', count(*), '' FROM pg_largeobject_metadata
UNION ALL
SELECT CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END,
       count(*), min(n.nspname || '.' || c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('S', 'm', 'f') AND {_OF_USERS} GROUP BY c.relkind ORDER BY 1
"""


def unseen_kinds(session: Session) -> tuple[tuple[str, int, str], ...]:
    """(kind, how many, one of them) of what a slot never shows."""
    return tuple((kind, count, one) for kind, count, one in session.execute(_UNSEEN.encode()) if count)


def without_identity(session: Session, publications: Sequence[str]) -> tuple[tuple[int, str], ...]:
    """(published oid, table or leaf) of which updates are published and which has no usable identity any
    more: every UPDATE and DELETE of the application fails there now. A migration dropped its primary key."""
    rows = session.execute(
        """SELECT t.oid::bigint, r.prrelid::bigint FROM pg_publication_rel r
           JOIN pg_publication p ON p.oid = r.prpubid AND p.pubupdate AND p.pubname = ANY(%s)
           CROSS JOIN LATERAL (SELECT r.prrelid AS oid UNION SELECT relid FROM pg_partition_tree(r.prrelid)) t
           JOIN pg_class c ON c.oid = t.oid AND c.relkind = 'r'""",
        (list(publications),),
    ).fetchall()
    published: dict[int, int] = {row[0]: row[1] for row in rows}
    there = (table for table in read_tables(session) if table.oid in published and not table.usable)
    return tuple((published[table.oid], table.name) for table in there)


def detached(session: Session, leaves: Sequence[int]) -> tuple[str, ...]:
    """Those of these leaves that still are tables and no partitions any more: writes to them are published
    under nobody's name, and nothing in the stream says so."""
    rows = session.execute(
        """SELECT n.nspname::text, c.relname::text FROM pg_class c
           JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE c.oid = ANY(%s::oid[]) AND NOT c.relispartition ORDER BY 1, 2""",
        (list(leaves),),
    ).fetchall()
    return tuple(qualified(schema, name) for schema, name in rows)
