"""What was parked or listed: rows with both versions, in the target, until a person has decided.

An entry is written in the transaction of the batch that it belongs to, once a row and fate; a resolution is
written in the transaction of its effect, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql
from psycopg.types.json import Jsonb

from backout.model.fates import Fate, Reason
from backout.postgres.connect import Session
from backout.postgres.names import STATE_SCHEMA

Row = Mapping[str, str | None]

_TABLE = sql.Identifier(STATE_SCHEMA, "parked")
_COLUMNS = """number, fate, relation, key, reason, detail, columns, before_row, migrated_row, now_row, as_of,
              coalesce(resolution, '')"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row that needs a person (parked) or that a person should see (listed)."""

    fate: Fate
    relation: str
    key: tuple[str, ...]
    reason: Reason
    detail: str
    """What the server said, where it refused the row."""
    columns: tuple[str, ...]
    """The cells that it is about; empty = the whole row."""
    before: Row | None
    migrated: Row | None
    now: Row | None
    as_of: str = ""
    """How exact `before` is; empty = exact."""
    number: int = 0
    resolution: str = ""
    """Empty = open."""


def ensure(session: Session) -> None:
    """Make the table; the schema is there."""
    session.execute(
        sql.SQL(
            """CREATE TABLE IF NOT EXISTS {} (
                 incident text NOT NULL, number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                 fate text NOT NULL, relation text NOT NULL, key jsonb NOT NULL, reason text NOT NULL,
                 detail text NOT NULL, columns text[] NOT NULL, before_row jsonb, migrated_row jsonb,
                 now_row jsonb, as_of text NOT NULL, at timestamptz NOT NULL DEFAULT pg_catalog.now(),
                 resolved_at timestamptz, resolved_by text, resolution text,
                 UNIQUE (incident, relation, key, fate))"""
        ).format(_TABLE)
    )


def store(session: Session, incident: str, entries: Sequence[Entry]) -> None:
    """Add entries; one that is there already stays as it is."""
    query = sql.SQL(
        """INSERT INTO {} (incident, fate, relation, key, reason, detail, columns, before_row, migrated_row,
                           now_row, as_of)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""
    ).format(_TABLE)
    with session.cursor() as cursor:
        cursor.executemany(query, [(incident, *_stored(entry)) for entry in entries])


def renew(session: Session, incident: str, entry: Entry) -> None:
    """Add an entry about a whole row, or bring the row of now of the one that is there up to date: the
    application has written it again. Values that this write does not tell stay as they were told; None =
    deleted. One that was about some cells is about the whole row from then on."""
    query = sql.SQL(
        """INSERT INTO {0} AS p (incident, fate, relation, key, reason, detail, columns, before_row,
                                 migrated_row, now_row, as_of)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (incident, relation, key, fate) DO UPDATE SET now_row = CASE
             WHEN excluded.now_row IS NULL THEN NULL
             ELSE coalesce(p.now_row, '{{}}') || excluded.now_row END, columns = excluded.columns
           WHERE p.resolution IS NULL"""
    ).format(_TABLE)
    session.execute(query, (incident, *_stored(entry)))


def _stored(entry: Entry) -> tuple[object, ...]:
    states = (entry.before, entry.migrated, entry.now)
    return (
        *(entry.fate.value, entry.relation, Jsonb(list(entry.key)), entry.reason.value, entry.detail),
        *(list(entry.columns), *(None if row is None else Jsonb(dict(row)) for row in states)),
        entry.as_of,
    )


def entries(session: Session, incident: str, *, fate: Fate | None = None) -> tuple[Entry, ...]:
    """All entries of an incident, open and resolved, in the order in which they were made."""
    if session.execute("SELECT pg_catalog.to_regclass('backout.parked')").fetchone() == (None,):
        return ()
    query = sql.SQL(
        f"SELECT {_COLUMNS} FROM {{}} WHERE incident = %s AND (%s::text IS NULL OR fate = %s) ORDER BY number"  # noqa: S608
    ).format(_TABLE)
    wanted = None if fate is None else fate.value
    return tuple(_entry(row) for row in session.execute(query, (incident, wanted, wanted)))


def _entry(row: Sequence[object]) -> Entry:
    number, fate, relation, key, reason, detail, columns, before, migrated, now, as_of, resolution = row
    return Entry(
        fate=Fate(str(fate)),
        relation=str(relation),
        key=tuple(_texts(key)),
        reason=Reason(str(reason)),
        detail=str(detail),
        columns=tuple(_texts(columns)),
        before=_row(before),
        migrated=_row(migrated),
        now=_row(now),
        as_of=str(as_of),
        number=int(str(number)),
        resolution=str(resolution),
    )


def _texts(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(each) for each in value]


def _row(value: object) -> Row | None:
    assert value is None or isinstance(value, dict)
    return value


def resolve(session: Session, incident: str, number: int, by: str, resolution: str) -> bool:
    """Close one entry inside the caller's transaction; False when it was closed before."""
    query = sql.SQL(
        """UPDATE {} SET resolved_at = pg_catalog.now(), resolved_by = %s, resolution = %s
           WHERE incident = %s AND number = %s AND resolution IS NULL"""
    ).format(_TABLE)
    return session.execute(query, (by, resolution, incident, number)).rowcount == 1
