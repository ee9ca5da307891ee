"""Facts of tables that triage shows: how large they are, and what depends on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from backout.postgres.connect import Session


@dataclass(frozen=True, slots=True)
class TableSize:
    """Size of one table. `rows` is the planner's estimate (partitions summed); -1 = never analysed."""

    oid: int
    rows: int
    bytes: int
    """With indexes and TOAST; for a partitioned table the sum of its leaves."""


@dataclass(frozen=True, slots=True)
class Dependant:
    """Something that stands on a table."""

    kind: str
    """`foreign key`, `view`, `function`, `trigger`, `partition` or `inheriting table`."""
    name: str
    detail: str = ""
    """For a foreign key its ON DELETE action: `no action`, `restrict`, `cascade`, `set null` or
    `set default`."""


def table_sizes(session: Session, oids: Iterable[int]) -> dict[int, TableSize]:
    """Estimated rows and bytes by oid; oids that are no table any more are left out."""
    wanted = list(oids)
    rows = session.execute(
        """WITH RECURSIVE tree(root, oid) AS (
             SELECT c.oid, c.oid FROM pg_catalog.pg_class c WHERE c.oid = ANY(%s::oid[])
             UNION SELECT t.root, i.inhrelid FROM tree t
                   JOIN pg_catalog.pg_class p ON p.oid = t.oid AND p.relkind = 'p'
                   JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid)
           SELECT t.root::bigint,
                  coalesce(sum(c.reltuples) FILTER (WHERE c.relkind <> 'p' AND c.reltuples >= 0), -1)::bigint,
                  coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint
           FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid GROUP BY t.root""",
        (wanted,),
    ).fetchall()
    return {oid: TableSize(oid, estimate, size) for oid, estimate, size in rows}


def dependants(session: Session, oid: int) -> tuple[Dependant, ...]:
    """What refers to a table. Functions are a best effort: those with a parsed body (14 on) or of the
    table's row type are known to the catalog; for the rest the table's bare name is looked for as a word
    in the source, so a function may be named that does not really use it."""
    rows = session.execute(_DEPENDANTS, {"oid": oid}).fetchall()
    return tuple(Dependant(kind, name, detail) for kind, name, detail in rows)


_DEPENDANTS = """
SELECT 'foreign key', k.conname::text || ' on ' || k.conrelid::pg_catalog.regclass::text,
       CASE k.confdeltype WHEN 'a' THEN 'no action' WHEN 'r' THEN 'restrict' WHEN 'c' THEN 'cascade'
                          WHEN 'n' THEN 'set null' ELSE 'set default' END
FROM pg_catalog.pg_constraint k
WHERE k.contype = 'f' AND k.confrelid = %(oid)s::oid AND k.conparentid = 0
UNION ALL
SELECT DISTINCT 'view', r.ev_class::pg_catalog.regclass::text, ''
FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refobjid = %(oid)s::oid
  AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND r.ev_class <> %(oid)s::oid
UNION ALL
SELECT 'function', p.oid::pg_catalog.regprocedure::text, ''
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_class c ON c.oid = %(oid)s::oid
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend e WHERE e.objid = p.oid AND e.deptype = 'e'
                  AND e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
  AND (EXISTS (SELECT 1 FROM pg_catalog.pg_depend d
               WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
                 AND (d.refobjid = c.oid OR d.refobjid = c.reltype))
       OR p.prosrc ~* ('\\m' || pg_catalog.regexp_replace(c.relname, '(\\W)', '\\\\\\1', 'g') || '\\M'))
UNION ALL
SELECT 'trigger', t.tgname::text, '' FROM pg_catalog.pg_trigger t
WHERE t.tgrelid = %(oid)s::oid AND NOT t.tgisinternal
UNION ALL
SELECT CASE WHEN c.relispartition THEN 'partition' ELSE 'inheriting table' END,
       c.oid::pg_catalog.regclass::text, ''
FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = %(oid)s::oid
ORDER BY 1, 2
"""
