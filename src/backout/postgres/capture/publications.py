"""Publications by table: never FOR ALL TABLES (it breaks updates of keyless tables), never with columns."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from backout.model.guard import Reach, TableCoverage
from backout.postgres.builds import holders
from backout.postgres.capture.patience import Patience, patiently
from backout.postgres.connect import Session

# An insert needs no replica identity, and neither does a TRUNCATE.
_PUBLISH = {Reach.EVERY: "insert, update, delete, truncate", Reach.INSERTS: "insert, truncate"}


def create(
    session: Session, name: str, reach: Reach, tables: Sequence[TableCoverage], note: str, patience: Patience
) -> None:
    """Make a publication of these tables, unless it is there; `note` becomes its comment."""
    if not exists(session, name):
        chosen = sql.SQL(", ").join(_member(session, table.oid) for table in tables)
        statement = sql.SQL("CREATE PUBLICATION {} {} WITH ({})").format(
            sql.Identifier(name),
            sql.SQL("FOR TABLE {}").format(chosen) if tables else sql.SQL(""),
            sql.SQL("publish_via_partition_root = true, publish = {}").format(sql.Literal(_PUBLISH[reach])),
        )
        patiently(session, statement, patience, lambda: _holders(session, tables))
    comment = sql.SQL("COMMENT ON PUBLICATION {} IS {}")
    session.execute(comment.format(sql.Identifier(name), sql.Literal(note)))


def move(session: Session, oid: int, name: str, source: str, to: str, patience: Patience) -> None:
    """Take a table out of one publication and into another; each half only where it is not done."""
    for publication, change, wanted in ((source, "DROP", False), (to, "ADD", True)):
        if exists(session, publication) and (oid in members(session, (publication,))) != wanted:
            statement = sql.SQL("ALTER PUBLICATION {} {} TABLE {}").format(
                sql.Identifier(publication), sql.SQL(change), _member(session, oid)
            )
            patiently(session, statement, patience, lambda: holders(session, name))


def _member(session: Session, oid: int) -> sql.Composable:
    """ONLY keeps tables that inherit out: they may have no key. A partitioned table stands for its leaves."""
    row = session.execute(
        """SELECT n.nspname::text, c.relname::text, c.relkind = 'p' FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s""",
        (oid,),
    ).fetchone()
    assert row is not None
    return sql.SQL("" if row[2] else "ONLY ") + sql.Identifier(row[0], row[1])


def _holders(session: Session, tables: Sequence[TableCoverage]) -> tuple[str, ...]:
    found = (who for table in tables for who in holders(session, table.table))
    return tuple(dict.fromkeys(found))[:5]


def exists(session: Session, name: str) -> bool:
    """Whether a publication of this name is there."""
    row = session.execute("SELECT 1 FROM pg_catalog.pg_publication WHERE pubname = %s", (name,)).fetchone()
    return row is not None


def members(session: Session, names: Sequence[str]) -> frozenset[int]:
    """oids of the tables that these publications name now; a dropped table leaves by itself."""
    rows = session.execute(
        """SELECT r.prrelid::bigint FROM pg_catalog.pg_publication_rel r
           JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE p.pubname = ANY(%s)""",
        (list(names),),
    ).fetchall()
    return frozenset(row[0] for row in rows)


def drop(session: Session, name: str, patience: Patience) -> bool:
    """Drop it and look; True when it was there."""
    if not exists(session, name):
        return False
    patiently(session, sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(name)), patience, lambda: ())
    return True
