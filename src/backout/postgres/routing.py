"""A default of a database that leads clients to the other side. It leads only: any session can undo it."""

from __future__ import annotations

from psycopg import sql

from backout.postgres.connect import Session


def read_only_statement(database: str, read_only: bool) -> str:
    """Make new sessions read-only by default, or writable again; said in another database of the cluster."""
    name = sql.Identifier(database)
    if read_only:
        made = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name)
    else:
        made = sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name)
    return made.as_string()


def read_only_question(database: str) -> str:
    """Ask for that default: column `value`, `on` or `off`."""
    asked = sql.SQL(
        """SELECT CASE WHEN EXISTS (
               SELECT 1 FROM pg_catalog.pg_db_role_setting s
               JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase WHERE d.datname = {} AND s.setrole = 0
                 AND 'default_transaction_read_only=on' = ANY(s.setconfig))
           THEN 'on' ELSE 'off' END AS value"""
    )
    return asked.format(sql.Literal(database)).as_string()


def routed_sessions(database: str, role: str) -> str:
    """Ask how many sessions of the application there are: column `value`."""
    asked = sql.SQL(
        "SELECT count(*)::text AS value FROM pg_catalog.pg_stat_activity WHERE datname = {} AND usename = {}"
    )
    return asked.format(sql.Literal(database), sql.Literal(role)).as_string()


def make_writable(session: Session) -> None:
    """Undo that default for a session of ours."""
    session.execute("SET default_transaction_read_only = off")
