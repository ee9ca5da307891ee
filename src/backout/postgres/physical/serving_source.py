"""How a production serves: its settings and who may come in, read before an instance takes its place."""

from __future__ import annotations

from backout.ports.backups import ServingSource
from backout.postgres.connect import Session
from backout.postgres.physical.carried import NOT_READ
from backout.postgres.physical.hba import read_hba

_OF_SERVER = ("configuration file", "command line")
_COVERING = ("database", "user", "database user")


def read_source(session: Session) -> ServingSource:
    """The settings that were made for the whole server, and the lines of its pg_hba.conf if they may be read.

    Any role will do; a superuser or member of pg_read_all_settings sees more. Nothing is changed: the
    settings of this session are put aside for the reading and are back afterwards.
    """
    with session.transaction(force_rollback=True):
        session.execute("RESET ALL")  # no operator below, so its search_path cannot lead anywhere
        session.execute("SET LOCAL client_encoding = 'UTF8'")
        rows = session.execute("SELECT name, setting, source, context FROM pg_catalog.pg_settings").fetchall()
    shown = [(name, value, source) for name, value, source, context in rows if context != "internal"]
    of_server = {name: value or "" for name, value, source in shown if source in _OF_SERVER}
    in_files = _in_files(session)
    known = {name.lower() for name in of_server}
    of_server |= {name: value for name, value in in_files.items() if name.lower() not in known}
    seen = {name.lower() for name in of_server}
    hidden = sorted(name for name, _, source in shown if source in _COVERING and name.lower() not in seen)
    return ServingSource(
        tuple((name, of_server[name]) for name in sorted(of_server) if name.lower() not in NOT_READ),
        read_hba(session),
        () if in_files else tuple(hidden),
        _sees_all(session),
    )


def _in_files(session: Session) -> dict[str, str]:
    """What its configuration files say, also behind a setting of the role; empty when it may not be read."""
    may = session.execute(
        """SELECT pg_catalog.has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'EXECUTE'),
                  pg_catalog.has_table_privilege('pg_catalog.pg_file_settings', 'SELECT')"""
    ).fetchone()
    if may != (True, True):
        return {}
    rows = session.execute(
        "SELECT name, setting FROM pg_catalog.pg_file_settings WHERE applied ORDER BY seqno"
    ).fetchall()
    return {name: value for name, value in rows if value is not None}


def _sees_all(session: Session) -> bool:
    row = session.execute("SELECT pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE')").fetchone()
    return row == (True,)
