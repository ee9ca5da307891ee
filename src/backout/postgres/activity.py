"""What is going on on a server: long transactions, prepared ones, invalid indexes, builds, statements."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from backout.errors import Refused
from backout.model.changes import lsn_of
from backout.model.loss import Figure
from backout.model.triage import AffectedStatement, Blocker, InvalidIndex
from backout.postgres.connect import Session
from backout.postgres.names import qualified

OURS = "backout/%"


def blockers(session: Session, *, longer_than: float = 1.0, limit: int = 20) -> tuple[Blocker, ...]:
    """Transactions open for longer than `longer_than` seconds, and prepared ones, longest first.

    Our own sessions are left out; query texts are cut at 80 characters (they may hold values).
    """
    rows = session.execute(
        """SELECT a.pid, coalesce(a.usename, '?')::text, coalesce(a.application_name, '')::text,
                  coalesce(a.state, '?')::text,
                  extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float8
           FROM pg_catalog.pg_stat_activity a
           WHERE a.xact_start IS NOT NULL AND a.datname = pg_catalog.current_database()
             AND a.pid <> pg_catalog.pg_backend_pid() AND a.application_name NOT LIKE %s
             AND pg_catalog.clock_timestamp() - a.xact_start > pg_catalog.make_interval(secs => %s)
           ORDER BY a.xact_start LIMIT %s""",
        (OURS, longer_than, limit),
    ).fetchall()
    sessions = [
        Blocker(pid, f"{user} ({app})" if app else user, state, round(age, 1), "")
        for pid, user, app, state, age in rows
    ]
    prepared = session.execute(
        """SELECT p.gid::text, p.owner::text,
                  extract(epoch FROM pg_catalog.clock_timestamp() - p.prepared)::float8
           FROM pg_catalog.pg_prepared_xacts p WHERE p.database = pg_catalog.current_database()
           ORDER BY p.prepared LIMIT %s""",
        (limit,),
    ).fetchall()
    return (
        *sessions,
        *(
            Blocker(0, owner, "prepared", round(age, 1), f"prepared transaction {gid}")
            for gid, owner, age in prepared
        ),
    )


@dataclass(frozen=True, slots=True)
class Changing:
    """A session whose transaction changes tables: nobody can even read their definitions meanwhile."""

    pid: int
    who: str
    state: str
    seconds: float
    tables: tuple[str, ...]
    """Bare names, as its lock shows them."""

    def __str__(self) -> str:
        held = ", ".join(self.tables)
        return f"pid {self.pid}, {self.who}, {self.state} for {self.seconds:.0f} s, holds {held}"


@contextmanager
def naming_holders(look: Callable[[], Session], where: str, following: str) -> Iterator[None]:
    """A definition that cannot be read because somebody changes it right now: who, since when, which table.

    Raises `Refused` in place of the lock that was not granted.
    """
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        with look() as session:
            held = "; ".join(map(str, changing(session)))
        raise Refused(
            f"tables are being changed right now and cannot be read: {held or 'it just ended'}",
            where=where,
            intact="everything; the database was only read",
            next=f"let that session end, or end it; then: {following}",
        ) from None


def changing(session: Session) -> tuple[Changing, ...]:
    """Sessions that hold ACCESS EXCLUSIVE on tables, longest first. Takes no lock on any of them."""
    rows = session.execute(
        """SELECT a.pid, coalesce(a.usename, '?')::text, coalesce(a.application_name, '')::text,
                  coalesce(a.state, '?')::text,
                  coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start), 0)::float8,
                  pg_catalog.array_agg(DISTINCT c.relname::text)
           FROM pg_catalog.pg_locks l
           JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p')
           JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
           WHERE l.mode = 'AccessExclusiveLock' AND l.granted AND a.pid <> pg_catalog.pg_backend_pid()
             AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                               WHERE d.datname = pg_catalog.current_database())
           GROUP BY 1, 2, 3, 4, 5 ORDER BY 5 DESC LIMIT 3"""
    ).fetchall()
    return tuple(
        Changing(pid, f"{user} ({app})" if app else user, state, age, tuple(tables))
        for pid, user, app, state, age, tables in rows
    )


def invalid_indexes(session: Session) -> tuple[InvalidIndex, ...]:
    """Indexes that queries do not use. A ready one still costs writes, a unique one still rejects them."""
    rows = session.execute(
        """SELECT n.nspname::text, c.relname::text, tn.nspname::text, t.relname::text,
                  i.indisready, i.indisunique
           FROM pg_catalog.pg_index i
           JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
           JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
           WHERE NOT i.indisvalid AND c.relkind = 'i' ORDER BY 1, 2"""
    ).fetchall()
    return tuple(InvalidIndex(qualified(r[0], r[1]), qualified(r[2], r[3]), r[4], r[5]) for r in rows)


def ddl_in_progress(session: Session) -> tuple[Blocker, ...]:
    """Sessions that are changing the schema right now: index builds and active DDL."""
    rows = session.execute(
        """SELECT a.pid, coalesce(a.usename, '?')::text, coalesce(a.application_name, '')::text,
                  extract(epoch FROM pg_catalog.clock_timestamp() - a.query_start)::float8,
                  pg_catalog.left(a.query, 200)
           FROM pg_catalog.pg_stat_activity a
           WHERE a.state = 'active' AND a.datname = pg_catalog.current_database()
             AND a.pid <> pg_catalog.pg_backend_pid() AND a.application_name NOT LIKE %s
             AND a.query ~* '^\\s*(create|alter|drop|truncate|reindex)\\M'
           ORDER BY a.query_start""",
        (OURS,),
    ).fetchall()
    return tuple(
        Blocker(
            pid, f"{user} ({app})" if app else user, "active", round(age, 1), " ".join(query.split())[:120]
        )
        for pid, user, app, age, query in rows
    )


def commit_time(session: Session, xid: str) -> str | None:
    """RFC 3339 commit time of a transaction, when the server tracks commit timestamps."""
    try:
        row = session.execute(
            """SELECT pg_catalog.to_char(pg_catalog.pg_xact_commit_timestamp(%s::pg_catalog.xid)
                      AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
            (xid,),
        ).fetchone()
    except psycopg.Error:
        return None
    return row[0] if row else None


def changed_since(session: Session, table: str, xid: str, *, scan_limit_bytes: int = 2_000_000_000) -> Figure:
    """At most how many live rows were written after transaction `xid`: those whose xmin is newer.

    An upper bound: a transaction with an older xid may have committed later, and a newer one earlier.
    Tables above `scan_limit_bytes` are not scanned: unknown.
    """
    row = session.execute("SELECT pg_catalog.pg_relation_size(%s::pg_catalog.regclass)", (table,)).fetchone()
    if row is None or row[0] > scan_limit_bytes:
        return Figure.unknown()
    counted = session.execute(
        f"SELECT count(*) FROM {table} WHERE pg_catalog.age(xmin) < pg_catalog.age(%s::pg_catalog.xid)"  # noqa: S608
        "   AND xmin::text::bigint > 2",
        (xid,),
    ).fetchone()
    return Figure.at_most(counted[0]) if counted else Figure.unknown()


def write_counter(session: Session, oids: tuple[int, ...]) -> int:
    """Rows written to these tables since the statistics began; two readings give a rate."""
    row = session.execute(
        """SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint
           FROM pg_catalog.pg_stat_all_tables WHERE relid = ANY(%s)""",
        (list(oids),),
    ).fetchone()
    return int(row[0]) if row else 0


def statements_naming(
    session: Session, words: tuple[str, ...], limit: int = 10
) -> tuple[tuple[AffectedStatement, ...], str]:
    """Statements of pg_stat_statements that name one of `words`, and a note when they cannot be known."""
    where = session.execute(
        """SELECT n.nspname::text FROM pg_catalog.pg_extension e
           JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
           WHERE e.extname = 'pg_stat_statements'"""
    ).fetchone()
    if where is None:
        return (), "cannot know: pg_stat_statements is not installed"
    view = qualified(where[0], "pg_stat_statements")
    pattern = "|".join(rf"\m{re.escape(word)}\M" for word in words) or r"\A\Z"
    try:
        rows = session.execute(
            f"""SELECT pg_catalog.left(query, 300), calls FROM {view}
                WHERE query ~* %s AND dbid = (SELECT oid FROM pg_catalog.pg_database
                                             WHERE datname = pg_catalog.current_database())
                ORDER BY calls DESC LIMIT %s""",  # noqa: S608 - the view's name comes from the catalog
            (pattern, limit),
        ).fetchall()
    except psycopg.Error as error:
        return (), f"cannot know: {error.diag.message_primary or 'pg_stat_statements refused'}"
    return tuple(AffectedStatement(" ".join(query.split()), calls) for query, calls in rows), ""


def database_size(session: Session) -> int:
    """Bytes of the current database."""
    row = session.execute("SELECT pg_catalog.pg_database_size(pg_catalog.current_database())").fetchone()
    assert row is not None
    return int(row[0])


def flushed_lsn(session: Session) -> int:
    """Everything that has committed durably lies before this position of the log."""
    row = session.execute("SELECT pg_catalog.pg_current_wal_flush_lsn()::text").fetchone()
    assert row is not None
    return lsn_of(row[0])


def current_lsn(session: Session) -> str:
    """Write position of the WAL (replay position on a standby), as text."""
    row = session.execute(
        """SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                  ELSE pg_catalog.pg_current_wal_insert_lsn() END::text"""
    ).fetchone()
    assert row is not None
    return str(row[0])


def end_own_sessions(session: Session, name_pattern: str) -> int:
    """End backends of the own role whose application_name matches (LIKE); returns how many were asked."""
    rows = session.execute(
        """SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a
           WHERE a.application_name LIKE %s AND a.usename = current_user
             AND a.pid <> pg_catalog.pg_backend_pid()""",
        (name_pattern,),
    ).fetchall()
    return len(rows)


def sessions_named(session: Session, name_pattern: str) -> tuple[int, ...]:
    """Pids of backends whose application_name matches (LIKE)."""
    rows = session.execute(
        """SELECT a.pid FROM pg_catalog.pg_stat_activity a
           WHERE a.application_name LIKE %s AND a.pid <> pg_catalog.pg_backend_pid()""",
        (name_pattern,),
    ).fetchall()
    return tuple(row[0] for row in rows)


def writers_of(session: Session, xid: str | None) -> str:
    """Sessions that may have run a migration tool just now, in words; the transaction is named beside."""
    rows = session.execute(
        """SELECT DISTINCT coalesce(a.usename, '?')::text, coalesce(a.application_name, '')::text,
                  coalesce(pg_catalog.host(a.client_addr), 'local')
           FROM pg_catalog.pg_stat_activity a
           WHERE a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid()
             AND a.application_name NOT LIKE %s
             AND a.query ~* '(pgmigrations|schema_migrations|alembic_version|migrat)'
           LIMIT 3""",
        (OURS,),
    ).fetchall()
    sessions = ", ".join(f"{user} {app} from {host}".replace("  ", " ") for user, app, host in rows)
    transaction = f"in transaction {xid}" if xid else ""
    return ", ".join(filter(None, (transaction, f"seen: {sessions}" if sessions else "")))


def row_count(session: Session, table: str) -> int:
    """Rows of a table, counted; for tables that the planner has no estimate of."""
    row = session.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - quoted by the catalog
    return int(row[0]) if row else 0


def blocking(session: Session, pid: int) -> tuple[int, ...]:
    """Pids that stand in the way of `pid`; 0 stands for a prepared transaction."""
    row = session.execute("SELECT pg_catalog.pg_blocking_pids(%s)", (pid,)).fetchone()
    return tuple(row[0]) if row else ()


def relation_names(session: Session) -> dict[int, str]:
    """Qualified name by oid of every user relation that has a lock of its own meaning: no index, no TOAST."""
    rows = session.execute(
        """SELECT c.oid::bigint, n.nspname::text, c.relname::text
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S')
             AND n.nspname !~ '^(pg_|information_schema$|backout)'"""
    ).fetchall()
    return {oid: qualified(schema, name) for oid, schema, name in rows}


def file_nodes(session: Session) -> dict[str, int]:
    """relfilenode by name of every ordinary user table; another number means truncated or rewritten."""
    rows = session.execute(
        """SELECT n.nspname::text, c.relname::text, pg_catalog.pg_relation_filenode(c.oid)::bigint
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE c.relkind = 'r' AND n.nspname !~ '^(pg_|information_schema$|backout)'"""
    ).fetchall()
    return {qualified(schema, name): node for schema, name, node in rows}


def wal_since(session: Session, lsn: str) -> int:
    """Bytes of WAL written since `lsn`."""
    row = session.execute(
        """SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(),
                  %s::pg_catalog.pg_lsn)::bigint""",
        (lsn,),
    ).fetchone()
    return int(row[0]) if row else 0
