"""What a role may do on a server, asked from the server: each right is tried and rolled back where it can be.

Neither the version nor the name of a service decides: managed services hand out rights that the
documentation of PostgreSQL does not know, and keep back others. What cannot be tried without an effect
(writing to the log, ending a session, creating a database) is asked with the server's own functions.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo

from backout.postgres.asking import refusal
from backout.postgres.connect import Session
from backout.postgres.names import KEPT_SCHEMA, STATE_SCHEMA

_REFUSED = "42501"
_UNDEFINED_FUNCTION = "42883"


@dataclass(frozen=True, slots=True)
class Right:
    """One right of the session's role. `held` is None when the server could not be asked."""

    name: str
    held: bool | None
    how: str
    """`tried` (and rolled back), `asked` (a function of the server), `looked up` (an attribute)."""
    said: str = ""
    """The server's words, or what the answer rests on."""


def ask_rights(session: Session) -> tuple[Right, ...]:
    """Every right that some strategy lives on. `session` must be in autocommit mode, and not read-only.

    Tables of users are neither locked nor read. With the right to make replication slots one temporary slot
    without reserved WAL is made and dropped.
    """
    return tuple(question(session) for question in _QUESTIONS)


def ask_capture_rights(session: Session) -> dict[str, Right]:
    """What a guard lives on, by name; asked as `ask_rights` asks."""
    return {right.name: right for right in (question(session) for question in _CAPTURE)}


def may_stream(dsn: str) -> Right:
    """Whether the role may open a replication connection: base backups and received WAL need one."""
    streaming = make_conninfo(dsn, replication="true", application_name="backout/look/0", connect_timeout=10)
    connection = pq.PGconn.connect(streaming.encode())
    try:
        if connection.status == pq.ConnStatus.OK:
            return Right("base backup", True, "tried")
        said = connection.get_error_message().partition("FATAL:")[2].strip().partition("\n")[0]
    finally:
        connection.finish()
    return Right("base backup", False, "tried", said)


def _tried(
    session: Session, name: str, *statements: sql.SQL | sql.Composed, proves: tuple[str, ...] = ()
) -> Right:
    """Run statements and roll them back. An SQLSTATE of `proves` comes after the check of the right."""
    try:
        with session.transaction(force_rollback=True):
            session.execute("SET LOCAL lock_timeout = '200ms'")
            for statement in statements:
                session.execute(statement)
    except psycopg.Error as error:
        if error.sqlstate in proves:
            return Right(name, True, "tried")
        return Right(name, False if error.sqlstate == _REFUSED else None, "tried", refusal(error))
    return Right(name, True, "tried")


def _asked(session: Session, name: str, query: str, *values: object, how: str = "asked") -> Right:
    """`query` answers true, false or NULL (the server has no such right), and may say why."""
    try:
        row = session.execute(query.encode(), values).fetchone()
    except psycopg.Error as error:
        return Right(name, None, how, refusal(error))
    assert row is not None
    return Right(name, bool(row[0]), how, str(row[1] or "") if len(row) > 1 else "")


def _member(role: str, name: str) -> Callable[[Session], Right]:
    """Is the session's role (in effect, not by SET ROLE) a member of a predefined one?"""
    query = """SELECT coalesce((SELECT pg_catalog.pg_has_role(oid, 'USAGE') FROM pg_catalog.pg_roles
                                WHERE rolname = %s),
                      (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)), %s"""
    return lambda session: _asked(session, name, query, role, role)


def _function(signature: str, name: str) -> Callable[[Session], Right]:
    query = "SELECT pg_catalog.has_function_privilege(%s, 'EXECUTE')"
    return lambda session: _asked(session, name, query, f"pg_catalog.{signature}")


def _statement(name: str, text: LiteralString, proves: tuple[str, ...] = ()) -> Callable[[Session], Right]:
    return lambda session: _tried(session, name, sql.SQL(text), proves=proves)


def _probe() -> sql.Identifier:
    """A name that nothing has, for what is rolled back."""
    return sql.Identifier(f"backout_look_{secrets.token_hex(6)}")


_OWNED = """
SELECT coalesce(bool_and(pg_catalog.pg_has_role(c.relowner, 'USAGE')), true),
       count(*) || ' tables, not of this role: '
       || count(*) FILTER (WHERE NOT pg_catalog.pg_has_role(c.relowner, 'USAGE'))
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'
                  AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass)
"""
_READABLE = """
SELECT coalesce(bool_and(pg_catalog.has_schema_privilege(n.oid, 'USAGE')
                         AND pg_catalog.has_table_privilege(c.oid, 'SELECT')), true)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
_UNFILTERED = """
SELECT count(*) = 0, count(*) || ' tables with policies that hide rows' FROM pg_catalog.pg_class c
WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity AND pg_catalog.row_security_active(c.oid)
"""
_CREATES_DATABASES = (
    "SELECT rolcreatedb OR rolsuper, 'CREATEDB' FROM pg_catalog.pg_roles WHERE rolname = current_user"
)
_COMMIT_TIMES = "SELECT pg_catalog.current_setting('track_commit_timestamp') = 'on', 'track_commit_timestamp'"


def _kept_values(session: Session) -> Right:
    """Tables in the schemas of ours; while these are missing, the right to create them."""
    there = session.execute(
        "SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = ANY(%s)", ([STATE_SCHEMA, KEPT_SCHEMA],)
    ).fetchone()
    if there == (2,):
        made = (
            sql.SQL("CREATE TABLE {}.{} ()").format(sql.Identifier(schema), _probe())
            for schema in (STATE_SCHEMA, KEPT_SCHEMA)
        )
        return _tried(session, "kept values", *made)
    return _tried(session, "kept values", sql.SQL("CREATE SCHEMA {}").format(_probe()))


def _slot(session: Session) -> Right:
    """Slots are made outside of transactions, so this one is temporary, and dropped at once."""
    name = f"backout_look_{secrets.token_hex(6)}"
    try:
        session.execute("SELECT pg_catalog.pg_create_physical_replication_slot(%s, false, true)", (name,))
        session.execute("SELECT pg_catalog.pg_drop_replication_slot(%s)", (name,))
    except psycopg.Error as error:
        held = False if error.sqlstate == _REFUSED else None
        return Right("replication slot", held, "tried", refusal(error))
    return Right("replication slot", True, "tried")


def _publication(session: Session) -> Right:
    return _tried(session, "publication", sql.SQL("CREATE PUBLICATION {}").format(_probe()))


def _create_role(session: Session) -> Right:
    return _tried(session, "create role", sql.SQL("CREATE ROLE {} NOLOGIN").format(_probe()))


def _connection_limit(session: Session) -> Right:
    """The limit is set to what it is."""
    row = session.execute(
        "SELECT datname, datconnlimit FROM pg_catalog.pg_database"
        " WHERE datname = pg_catalog.current_database()"
    ).fetchone()
    assert row is not None
    statement = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
    return _tried(session, "connection limit", statement.format(sql.Identifier(row[0]), sql.Literal(row[1])))


def _origin(session: Session) -> Right:
    name = sql.Literal(f"backout_look_{secrets.token_hex(6)}")
    statement = sql.SQL("SELECT pg_catalog.pg_replication_origin_create({})").format(name)
    return _tried(session, "replication origin", statement)


def _page_checks(session: Session) -> Right:
    """amcheck: callable, or may be created."""
    query = """SELECT pg_catalog.bool_and(pg_catalog.has_function_privilege(p.oid, 'EXECUTE'))
               FROM pg_catalog.pg_proc p WHERE p.proname IN ('bt_index_check', 'verify_heapam')"""
    row = session.execute(query).fetchone()
    if row is not None and row[0] is not None:
        return Right("page checks", bool(row[0]), "asked", "amcheck is installed")
    right = _tried(session, "page checks", sql.SQL("CREATE EXTENSION amcheck"))
    return Right(right.name, bool(right.held), right.how, right.said)  # not on the machine: cannot be had


_POINT = _function("pg_create_restore_point(text)", "named restore point")
_SWITCH = _function("pg_switch_wal()", "switch the log")
_CAPTURE = (_slot, _publication, _POINT, _SWITCH, _origin)
_QUESTIONS: tuple[Callable[[Session], Right], ...] = (
    lambda session: _asked(session, "run the down", _OWNED),
    _kept_values,
    _statement("marker in the log", "SELECT pg_catalog.pg_logical_emit_message(true, 'backout', '')"),
    _statement("session locks", "SELECT pg_catalog.pg_try_advisory_xact_lock(7241865325823963)"),
    _statement("fate of a commit", "SELECT pg_catalog.pg_xact_status(pg_catalog.pg_current_xact_id())"),
    lambda session: _asked(session, "read every table", _READABLE),
    lambda session: _asked(session, "read past policies", _UNFILTERED),
    _member("pg_read_all_stats", "see other sessions"),
    _member("pg_signal_backend", "end other sessions"),
    lambda session: _asked(session, "commit times", _COMMIT_TIMES, how="looked up"),
    _POINT,
    _SWITCH,
    _member("pg_checkpoint", "checkpoint"),
    lambda session: _asked(session, "create database", _CREATES_DATABASES, how="looked up"),
    _slot,
    _publication,
    _origin,
    _statement("silence triggers", "SET LOCAL session_replication_role = replica"),
    _statement(
        "event trigger",
        # The right is looked at before the function, so the missing function proves the right.
        "CREATE EVENT TRIGGER backout_look ON ddl_command_end EXECUTE FUNCTION pg_catalog.backout_look()",
        (_UNDEFINED_FUNCTION,),
    ),
    _connection_limit,
    _create_role,
    _page_checks,
)
