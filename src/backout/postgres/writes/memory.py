"""What a replay has to remember of single rows, and its counters; durable with the rows themselves.

A key that the application freed and used again, or a row that it gave another key, looks like something else
in the states before and after the migration. Forgetting it in a restart would leak the migration (measured).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import psycopg
from psycopg import sql

from backout.model.fates import Fate, Fates
from backout.postgres.connect import Session
from backout.postgres.names import BASE_TABLE, STATE_SCHEMA, qualified
from backout.postgres.parked import Entry
from backout.postgres.writes.statements import Write

Key = tuple[str, ...]
Place = tuple[str, str]
"""Schema and name of a table of the target."""
_FATES_TABLE = sql.Identifier(STATE_SCHEMA, "fates")
_PARKED_TABLE = sql.Identifier(STATE_SCHEMA, "parked")


class Standing(StrEnum):
    """What a key of the source stands for since."""

    PARKED = "parked"
    """A row that waits for a person: every later write to it is added there."""
    REBORN = "reborn"
    """The application deleted the row: whatever has this key since is a new one."""
    MOVED = "moved"
    """A row that had another key in the states before and after the migration."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of one key; `origin` is the former key of a row that moved."""

    standing: Standing
    origin: Key = ()


def make_tables(session: Session) -> None:
    """Create the table of counters; the others are made with the progress."""
    session.execute(
        sql.SQL(
            """CREATE TABLE IF NOT EXISTS {} (run text PRIMARY KEY, carried bigint NOT NULL DEFAULT 0,
                 archived bigint NOT NULL DEFAULT 0, parked bigint NOT NULL DEFAULT 0,
                 listed bigint NOT NULL DEFAULT 0)"""
        ).format(_FATES_TABLE)
    )


def load(session: Session, run: str) -> dict[tuple[str, Key], Known]:
    """Everything that is remembered, by table and key; an empty key stands for a whole table."""
    rows = session.execute(
        sql.SQL("SELECT rel, pk, current FROM {} WHERE run = %s").format(BASE_TABLE), (run,)
    )
    return {
        (rel, tuple(key)): Known(Standing(told["standing"]), tuple(told["origin"])) for rel, key, told in rows
    }


def fates(session: Session, run: str) -> Fates:
    """The counters of a run; all 0 before its first window."""
    row = session.execute(
        sql.SQL("SELECT carried, archived, parked, listed FROM {} WHERE run = %s").format(_FATES_TABLE),
        (run,),
    ).fetchone()
    return Fates(*row) if row is not None else Fates()


def recount(session: Session, run: str, was: Fate = Fate.CARRIED) -> None:
    """One write that is counted as `was` with its transaction has been refused by the target: parked."""
    if was is Fate.PARKED:
        return
    session.execute(
        sql.SQL(
            """INSERT INTO {0} AS f (run, {1}, parked) VALUES (%s, -1, 1)
               ON CONFLICT (run) DO UPDATE SET {1} = f.{1} - 1, parked = f.parked + 1"""
        ).format(_FATES_TABLE, sql.Identifier(was.value)),
        (run,),
    )


def keep_off(session: Session, run: str, table: Place, key: Mapping[str, str]) -> None:
    """The target has refused the application's row with this key. If another row stands under it there, no
    later write may take that one for the application's (see `unless_kept_off`)."""
    found = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in key)
    query = sql.SQL(
        """INSERT INTO {} (run, rel, pk, current) SELECT %s, %s, %s, %s
           WHERE EXISTS (SELECT FROM {} WHERE {}) ON CONFLICT (run, rel, pk) DO NOTHING"""
    ).format(BASE_TABLE, sql.Identifier(*table), found)
    known = _told(Known(Standing.PARKED))
    with suppress(psycopg.DataError), session.transaction():  # a key that cannot be read there is no row's
        session.execute(query, (run, qualified(*table), list(key.values()), known, *key.values()))


_REMEMBER = (
    sql.SQL(
        """INSERT INTO {} (run, rel, pk, current) VALUES ($1, $2, $3, $4)
           ON CONFLICT (run, rel, pk) DO UPDATE SET current = excluded.current"""
    )
    .format(BASE_TABLE)
    .as_bytes(None)
)
_COUNT = (
    sql.SQL(
        """INSERT INTO {0} AS f (run, carried, archived, parked, listed)
           VALUES ($1, $2::bigint, $3::bigint, $4::bigint, $5::bigint)
           ON CONFLICT (run) DO UPDATE SET carried = f.carried + excluded.carried,
             archived = f.archived + excluded.archived, parked = f.parked + excluded.parked,
             listed = f.listed + excluded.listed"""
    )
    .format(_FATES_TABLE)
    .as_bytes(None)
)
_TELL = (
    sql.SQL(
        """INSERT INTO {} AS p (incident, fate, relation, key, reason, detail, columns, before_row,
                                migrated_row, now_row, as_of)
           VALUES ($1, $2, $3, $4::jsonb, $5, $6, $7::text[], $8::jsonb, $9::jsonb, $10::jsonb, '')
           ON CONFLICT (incident, relation, key, fate)
           DO UPDATE SET now_row = CASE WHEN excluded.now_row IS NULL THEN NULL
                                        ELSE coalesce(p.now_row, '{{}}') || excluded.now_row END,
                         columns = CASE WHEN '{{}}' IN (p.columns, excluded.columns) THEN '{{}}' ELSE
                           ARRAY(SELECT DISTINCT unnest(p.columns || excluded.columns) ORDER BY 1) END"""
    )
    .format(_PARKED_TABLE)
    .as_bytes(None)
)


def remember(run: str, relation: str, key: Key, known: Known) -> Write:
    """Keep what a key stands for."""
    return Write(_REMEMBER, (run, relation, _array(key), _told(known)), None, None)


def _told(known: Known) -> str:
    return json.dumps({"standing": known.standing.value, "origin": list(known.origin)})


def unless_kept_off(write: Write, run: str, table: Place, key: Key) -> Write:
    """The same statement, which ends in its WHERE, for a row that nobody has to keep off (see `keep_off`):
    else it hits none. Asked when it is carried out: what is refused just before counts."""
    query = _unless_kept_off(write.query, len(write.parameters))
    return replace(write, query=query, parameters=(*write.parameters, run, qualified(*table), _array(key)))


@lru_cache(maxsize=4096)
def _unless_kept_off(query: bytes, before: int) -> bytes:
    asked = sql.SQL(" AND NOT EXISTS (SELECT FROM {} WHERE run = {} AND rel = {} AND pk = {})").format(
        BASE_TABLE, *(sql.SQL(f"${before + n}") for n in (1, 2, 3))
    )
    return query + asked.as_bytes(None)


def forget_empty(run: str, table: Place) -> Write:
    """Nothing is to be kept off in a table without rows."""
    query = sql.SQL("DELETE FROM {} WHERE run = $1 AND rel = $2 AND NOT EXISTS (SELECT FROM {})").format(
        BASE_TABLE, sql.Identifier(*table)
    )
    return Write(query.as_bytes(None), (run, qualified(*table)), None, None)


def count(run: str, seen: Iterable[Fate]) -> Write:
    """Add the fates of one transaction's writes."""
    told = Fates.of(seen)
    numbers = (told.carried, told.archived, told.parked, told.listed)
    return Write(_COUNT, (run, *(str(number) for number in numbers)), None, None)


def tell(incident: str, entry: Entry) -> Write:
    """Show one row to people; a later write to it brings what stands there as now up to date. Values
    that the log leaves out, because they lie in TOAST unchanged, stay as they were told; an entry about the
    whole row stays one."""
    rows = (
        None if row is None else json.dumps(dict(row)) for row in (entry.before, entry.migrated, entry.now)
    )
    return Write(
        _TELL,
        (
            *(incident, entry.fate.value, entry.relation, json.dumps(list(entry.key)), entry.reason.value),
            *(entry.detail, _array(entry.columns), *rows),
        ),
        None,
        None,
    )


def _array(values: Sequence[str]) -> str:
    """A text array as PostgreSQL reads it."""
    quoted = ('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values)
    return "{" + ",".join(quoted) + "}"
