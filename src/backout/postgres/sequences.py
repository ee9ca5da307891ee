"""Positions of sequences: logical replication does not carry them, so a new side would give numbers twice."""

from __future__ import annotations

from backout.postgres.connect import Session

MARGIN = 1000

_READ = """
SELECT n.nspname::text, c.relname::text,
       coalesce(pg_catalog.pg_sequence_last_value(c.oid), s.seqstart)::bigint
FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND n.nspname !~ '^(pg_|information_schema$|backout)'
ORDER BY 1, 2
"""
# One statement for all: forty sequences one by one took up to 71 ms of the pause. A cycling or descending
# sequence moves in its own direction; none is set beyond its bounds, none goes back.
_SET = """
WITH old(schema, name, value) AS (SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[])),
now AS (
  SELECT c.oid, o.value AS old, coalesce(pg_catalog.pg_sequence_last_value(c.oid), s.seqstart) AS new,
         s.seqincrement AS step, s.seqmin AS low, s.seqmax AS high
  FROM old o JOIN pg_catalog.pg_namespace n ON n.nspname = o.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = o.name AND c.relkind = 'S'
  JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid)
SELECT count(pg_catalog.setval(oid::pg_catalog.regclass, (CASE
    WHEN step > 0 THEN least(high::numeric, greatest(old, new)::numeric + %s::numeric * step)
    ELSE greatest(low::numeric, least(old, new)::numeric + %s::numeric * step) END)::bigint, true)) FROM now
"""


def positions(session: Session) -> tuple[tuple[str, str, int], ...]:
    """(schema, name, last value) of every lasting sequence of the application."""
    return tuple((r[0], r[1], r[2]) for r in session.execute(_READ).fetchall())


def carry(old: Session, new: Session, margin: int = MARGIN) -> int:
    """Set every sequence of the new side behind both sides' positions; returns how many there were.

    A sequence that the new side does not have is left out: there it has no column either.
    """
    found = positions(old)
    schemas, names, values = ([row[i] for row in found] for i in range(3))
    row = new.execute(_SET, (schemas, names, values, margin, margin)).fetchone()
    return int(row[0]) if row else 0
