"""The marker that every copy of ours carries and a production never does."""

from __future__ import annotations

from contextlib import suppress

import psycopg
from psycopg import sql

from backout.errors import Refused
from backout.model.target import CopyMarker
from backout.postgres.connect import Session, place_of
from backout.postgres.names import MARKER_TABLE, STATE_SCHEMA

_COLUMNS = ("copy_id", "of_system_identifier", "of_database", "made_at", "lease_until")


def mark(session: Session, marker: CopyMarker) -> None:
    """Write the marker, or replace it (a clone inherits its template's; a lease is extended). Atomic."""
    values = [getattr(marker, column) for column in _COLUMNS]
    names = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    with session.transaction():
        session.execute(
            "SET TRANSACTION READ WRITE"
        )  # a carried-over setting of the database may say otherwise
        session.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(STATE_SCHEMA)))
        columns = sql.SQL(", ").join(sql.SQL("{} text NOT NULL").format(sql.Identifier(c)) for c in _COLUMNS)
        session.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(MARKER_TABLE, columns))
        session.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO PUBLIC").format(sql.Identifier(STATE_SCHEMA)))
        session.execute(sql.SQL("GRANT SELECT ON {} TO PUBLIC").format(MARKER_TABLE))
        session.execute(sql.SQL("DELETE FROM {}").format(MARKER_TABLE))
        insert = sql.SQL("INSERT INTO {} ({}) VALUES (%s, %s, %s, %s, %s)")
        session.execute(insert.format(MARKER_TABLE, names), values)


def unmark(session: Session) -> None:
    """Take the marker away, and the schema when nothing else is in it: it is no copy any more. Atomic."""
    schema = sql.Identifier(STATE_SCHEMA)
    with session.transaction():
        session.execute("SET TRANSACTION READ WRITE")  # a setting of the database may say otherwise
        session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(MARKER_TABLE))
        with suppress(psycopg.errors.DependentObjectsStillExist), session.transaction():
            session.execute(sql.SQL("DROP SCHEMA IF EXISTS {} RESTRICT").format(schema))


def is_marked(session: Session) -> bool:
    """Whether the marker table is there, asked from the catalog: it can be seen without any right."""
    row = session.execute(
        """SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname = %s AND c.relname = 'copy_marker'""",
        (STATE_SCHEMA,),
    ).fetchone()
    return row is not None


def read_marker(session: Session) -> CopyMarker | None:
    """The marker of this database; None when it has none."""
    if not is_marked(session):
        return None
    names = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    try:
        row = session.execute(sql.SQL("SELECT {} FROM {}").format(names, MARKER_TABLE)).fetchone()
    except psycopg.Error:
        return None
    return None if row is None else CopyMarker(*row)


def require_marker(session: Session) -> CopyMarker:
    """Before anything is destroyed in a rehearsal: raises `Refused` unless this is a copy of ours."""
    marker = read_marker(session)
    if marker is None:
        raise Refused(
            "this server has no rehearsal marker: it may be a production",
            where=place_of(session),
            intact="everything; no statement was sent",
            next="backout copies",
        )
    return marker


def refuse_marker(session: Session) -> None:
    """Before anything happens to a production: raises `Refused` when this is a copy of ours.

    The table alone is enough: a marker that cannot be read is a marker.
    """
    if is_marked(session):
        raise Refused(
            "this database is a copy made by backout, not the production",
            where=place_of(session),
            intact="everything; no statement was sent",
            next="correct the DSN of the target, then: backout doctor",
        )
