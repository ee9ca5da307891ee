"""A login that may only read, on a restored instance before traffic moves to it; admitted and dismissed."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import psycopg
from psycopg import sql

from backout.errors import Stopped
from backout.postgres.connect import Session
from backout.postgres.physical.isolation import write_private

ROLE = "backout_canary"
_MARK = "# backout: canary reads"
_NEVER = frozenset({"role", "session_authorization", "default_transaction_read_only", "log_statement"})
_ADMIT_SECONDS = 5.0
_SETTINGS = """SELECT entry FROM pg_catalog.pg_db_role_setting s
  JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
  CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS c (entry, place)
WHERE r.rolname = %s AND s.setdatabase IN
  (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
ORDER BY s.setdatabase, c.place"""


def admit(session: Session, like: str) -> str:
    """Let the role in, with the settings of role `like` and no right to write; its new password.

    It may read every table (`pg_read_all_data`), and is read-only by default. `session` is our own door into
    the restored database, as a superuser who may write. Row level security holds for it.
    """
    dismiss(session)
    password = secrets.token_urlsafe(18)
    # The server's log may show the statement, so it gets the verifier and not the password.
    verifier = session.pgconn.encrypt_password(password.encode(), ROLE.encode(), b"scram-sha-256").decode()
    role = sql.Identifier(ROLE)
    with session.transaction():
        session.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE pg_read_all_data").format(
                role, sql.Literal(verifier)
            )
        )
        for name, value in _settings(session, like):
            # a list (search_path) has to be taken apart as the server does it
            session.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))
            session.execute(
                sql.SQL("ALTER ROLE {} SET {} FROM CURRENT").format(role, sql.Identifier(*name.split(".")))
            )
        session.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(role))
    database = session.info.dbname.replace('"', '""')
    _change_hba(session, f'host "{database}" {ROLE} all scram-sha-256 {_MARK}\n')
    return password


def _settings(session: Session, like: str) -> list[tuple[str, str]]:
    pairs = (entry.partition("=") for (entry,) in session.execute(_SETTINGS, (like,)).fetchall())
    return [(name, value) for name, _, value in pairs if name.lower() not in _NEVER]


def require_in(dsn: str, where: str) -> None:
    """Come in as the reader does; raises `Stopped` when that cannot be done, or when it may write."""
    until = time.monotonic() + _ADMIT_SECONDS
    while True:
        try:
            with psycopg.connect(dsn, connect_timeout=3) as session:
                row = session.execute("SHOW transaction_read_only").fetchone()
            if row == ("on",):
                return
            why = "its login is not read-only"
        except psycopg.Error as error:
            why = str(error).strip().splitlines()[-1]
        if time.monotonic() > until:
            raise Stopped(
                f"readers cannot come in: {why}",
                where=where,
                intact="everything; traffic stays where it is",
                next="let them in, or without canary reads: backout resume --canary 0",
            )
        time.sleep(0.2)


def count(session: Session) -> int:
    """Sessions of readers now."""
    row = session.execute(
        "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usename = %s", (ROLE,)
    ).fetchone()
    return int(row[0]) if row else 0


def dismiss(session: Session) -> None:
    """End the readers' sessions and remove the login. Idempotent."""
    _change_hba(session, "")
    there = session.execute("SELECT FROM pg_catalog.pg_roles WHERE rolname = %s", (ROLE,)).fetchone()
    if there is None:
        return
    role = sql.Identifier(ROLE)
    session.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(role))
    session.execute(
        """SELECT pg_catalog.pg_terminate_backend(pid, 5000)
           FROM pg_catalog.pg_stat_activity WHERE usename = %s""",
        (ROLE,),
    )
    session.execute(sql.SQL("DROP OWNED BY {}").format(role))
    session.execute(sql.SQL("DROP ROLE {}").format(role))


def _change_hba(session: Session, first: str) -> None:
    """Put our line before all others, or take it out; the file changes as a whole."""
    row = session.execute("SHOW hba_file").fetchone()
    assert row is not None, "every server has one"
    path = Path(row[0])
    lines = path.read_text().splitlines(keepends=True)
    text = first + "".join(line for line in lines if not line.rstrip().endswith(_MARK))
    if text == "".join(lines):
        return
    fresh = path.with_suffix(".backout")
    write_private(fresh, text)
    fresh.replace(path)
    session.execute("SELECT pg_catalog.pg_reload_conf()")
