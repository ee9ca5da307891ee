"""The fence: no client writes on a database any more, proved by trying, and opened again by its owner.

`CONNECTION LIMIT 0`, committed, then the sessions that are in are ended until two sweeps find nobody. Not
`ALLOW_CONNECTIONS false`: it locks out superusers and the walsender too. A read-only default is no fence:
any session undoes it. The limit locks out the database's own owner as well (measured on 15 and 18), so it
is set and lifted through another database of the cluster, by a session that was opened before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from backout.errors import Refused, Stopped
from backout.postgres.connect import Session, place

_FULL = "53300"
_NOT_DONE = frozenset({"01006", "01007"})
"""`no privileges could be revoked / granted`: a warning behind which nothing has happened."""
_LOOK_AGAIN = 0.002


@dataclass(frozen=True, slots=True)
class Inside:
    """A session on the fenced database that is not ours."""

    pid: int
    role: str
    application: str
    address: str
    superuser: bool
    state: str
    transaction_seconds: float

    def __str__(self) -> str:
        name = f"{self.role} ({self.application})" if self.application else self.role
        age = f", in a transaction for {self.transaction_seconds:.1f} s" if self.transaction_seconds else ""
        return f"pid {self.pid} of {name} from {self.address or 'local'}{age}"


@contextmanager
def warnings_are_errors(session: Session) -> Iterator[None]:
    """A warning that says that nothing was done becomes an error when the block ends."""
    heard: list[str] = []

    def hear(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.sqlstate in _NOT_DONE:
            heard.append(diagnostic.message_primary or "nothing was done")

    session.add_notice_handler(hear)
    try:
        yield
    finally:
        session.remove_notice_handler(hear)
    if heard:
        raise Refused(
            heard[0],
            where=place(session.info.dsn),
            intact="everything; nothing was changed",
            next="backout status",
        )


def limit_statement(database: str, limit: int) -> str:
    """The statement that sets the limit, as text for whoever says it without this code."""
    return (
        sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
        .format(sql.Identifier(database), sql.Literal(limit))
        .as_string()
    )


def limit_of(session: Session, database: str) -> int:
    """The connection limit in force; 0 = fenced."""
    row = session.execute(
        "SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = %s", (database,)
    ).fetchone()
    if row is None:
        raise Refused(
            f"there is no database {database}",
            where=place(session.info.dsn),
            intact="everything; nothing was changed",
            next="backout status",
        )
    return int(row[0])


def set_limit(session: Session, database: str, limit: int) -> None:
    """Set the limit and look that it is there. `session` is on another database, in autocommit mode."""
    with warnings_are_errors(session):
        session.execute(limit_statement(database, limit).encode())
    if limit_of(session, database) != limit:
        raise Refused(
            f"the connection limit of {database} is not {limit}",
            where=place(session.info.dsn),
            intact="everything; nothing was changed",
            next="backout status",
        )


def prove_rights(session: Session, database: str) -> None:
    """Prove the rights that fence and unfence need on the database itself, without an effect.

    The limit in force is set once more: the same statement, the same rights, the same object.
    """
    current = session.execute("SELECT pg_catalog.current_database()").fetchone()
    if current == (database,):
        raise Refused(
            "the fence would lock out the session that has to open it again",
            where=place(session.info.dsn),
            intact="everything; nothing was changed",
            next="name another database of the same cluster for it (for example postgres)",
        )
    set_limit(session, database, limit_of(session, database))


def inside(session: Session, database: str, spare: tuple[int, ...]) -> tuple[Inside, ...]:
    """Who is on the database, ours apart. The walsender and the apply workers are let be: they carry on
    what is committed, and what an apply worker writes has an origin."""
    rows = session.execute(
        """SELECT a.pid, coalesce(a.usename, a.backend_type)::text, coalesce(a.application_name, '')::text,
                  coalesce(pg_catalog.host(a.client_addr), ''), coalesce(r.rolsuper, false),
                  coalesce(a.state, '?')::text,
                  coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start), 0)::float8
           FROM pg_catalog.pg_stat_activity a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
           WHERE a.datname = %s AND a.pid <> pg_catalog.pg_backend_pid() AND NOT a.pid = ANY(%s)
             AND a.backend_type NOT IN ('walsender', 'logical replication worker',
                 'logical replication apply worker', 'logical replication parallel worker',
                 'logical replication tablesync worker', 'autovacuum worker', 'parallel worker',
                 'slotsync worker')
           ORDER BY a.xact_start NULLS LAST, a.pid""",
        (database, list(spare)),
    ).fetchall()
    return tuple(Inside(*row) for row in rows)


def sweep_out(session: Session, database: str, spare: tuple[int, ...], seconds: float) -> int:
    """End every foreign session until two sweeps in a row find none; returns how many were ended.

    Raises `Stopped` when somebody is still in at the end of `seconds`, or may not be ended.
    """
    until = time.monotonic() + seconds
    ended: set[int] = set()
    empty = 0
    while empty < 2:
        found = inside(session, database, spare)
        empty = 0 if found else empty + 1
        for one in found:
            _end(session, one)
            ended.add(one.pid)
        if found and time.monotonic() > until:
            raise Stopped(
                f"the fence does not close: {found[0]}",
                where=place(session.info.dsn),
                intact="everything; the fence is opened again",
                next="backout status",
            )
        time.sleep(_LOOK_AGAIN)
    return len(ended)


def _end(session: Session, one: Inside) -> None:
    try:
        session.execute("SELECT pg_catalog.pg_terminate_backend(%s)", (one.pid,))
    except psycopg.errors.InsufficientPrivilege as error:
        raise Stopped(
            f"{one} may not be ended: {error.diag.message_primary}",
            where=place(session.info.dsn),
            intact="everything; the fence is opened again",
            next="GRANT pg_signal_backend to the role of backout, or have a superuser's session ended",
        ) from None


def cross(dsn: str) -> str:
    """Try to get over the fence as an application would; empty when the server refuses as it should.

    Raises `psycopg.OperationalError` when the login fails for another reason: then nothing is proved.
    """
    try:
        with psycopg.connect(dsn, application_name="backout/cross/0", connect_timeout=2) as session:
            row = session.execute(
                "SELECT rolname::text, rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
            ).fetchone()
    except psycopg.OperationalError as error:
        if refused_as_full(error):
            return ""
        raise
    role, superuser = row or ("?", False)
    return f"{role} got in" + (" (a superuser: no connection limit stops it)" if superuser else "")


def lets_in(dsn: str) -> bool:
    """Whether this login gets into a fenced database: a superuser does. Raises `psycopg.OperationalError`
    when it fails for another reason."""
    try:
        psycopg.connect(dsn, application_name="backout/look/0", connect_timeout=5).close()
    except psycopg.OperationalError as error:
        if refused_as_full(error):
            return False
        raise
    return True


def refused_as_full(error: psycopg.OperationalError) -> bool:
    """Whether a login failed because of a connection limit (a failed login carries no SQLSTATE)."""
    return error.sqlstate == _FULL or "too many connections for database" in str(error)


def limit_question(database: str) -> str:
    """Ask for the limit in force (column `value`), as text."""
    asked = sql.SQL("SELECT datconnlimit::text AS value FROM pg_catalog.pg_database WHERE datname = {}")
    return asked.format(sql.Literal(database)).as_string()


def ending_statement(pattern: str, but: str) -> str:
    """End the own role's sessions whose application_name is LIKE `pattern` and not `but`, as text."""
    return _own_sessions("pg_catalog.pg_terminate_backend(pid, 2000)", pattern, but)


def ending_question(pattern: str, but: str) -> str:
    """Ask how many such sessions there are (column `value`), as text."""
    return _own_sessions("count(*)::text AS value", pattern, but)


def _own_sessions(what: LiteralString, pattern: str, but: str) -> str:
    chosen = sql.SQL(
        """ FROM pg_catalog.pg_stat_activity
            WHERE application_name LIKE {} AND application_name <> {} AND usename = current_user
              AND backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()"""
    )
    statement = sql.SQL("SELECT ") + sql.SQL(what) + chosen.format(sql.Literal(pattern), sql.Literal(but))
    return statement.as_string()
