"""What a source database demands of a scratch server: version, locale, extensions, size."""

from __future__ import annotations

import socket
from contextlib import suppress

from backout.ports.servers import SourceFacts
from backout.postgres.connect import Session

_LOCALE_COLUMN = {15: "d.daticulocale", 16: "d.daticulocale"}
"""Column of pg_database with the locale of the ICU or builtin provider; `datlocale` from 17."""


def read_source_facts(session: Session) -> SourceFacts:
    """Read the facts of the database that this session is connected to; needs no special right."""
    major = session.info.server_version // 10000
    provider, locale, actual = "'c'", "''", "NULL::text"
    if major >= 15:
        provider = "d.datlocprovider::text"
        locale = _LOCALE_COLUMN.get(major, "d.datlocale")
        actual = "pg_catalog.pg_database_collation_actual_version(d.oid)"
    row = session.execute(
        f"""SELECT pg_catalog.current_setting('server_version_num')::int,
                  pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype,
                  {provider}, coalesce({locale}, ''), coalesce({actual}, ''),
                  pg_catalog.pg_database_size(d.oid),
                  c.system_identifier::text, pg_catalog.pg_postmaster_start_time()::text,
                  pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size'))
           FROM pg_catalog.pg_database d, pg_catalog.pg_control_system() c
           WHERE d.datname = pg_catalog.current_database()"""  # noqa: S608 - our own column names
    ).fetchone()
    assert row is not None
    return SourceFacts(
        server_version=row[0],
        encoding=row[1],
        collate=row[2],
        ctype=row[3],
        locale_provider=row[4],
        collation_version=row[6],
        extensions=_extensions(session),
        size_bytes=row[7],
        locale=row[5],
        system_identifier=row[8],
        postmaster_started=row[9],
        on_this_machine=is_on_this_machine(session),
        data_directory=_data_directory(session),
        max_wal_size_bytes=row[10],
    )


def _extensions(session: Session) -> tuple[tuple[str, str], ...]:
    rows = session.execute(
        "SELECT extname, extversion FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql' ORDER BY extname"
    ).fetchall()
    return tuple((str(name), str(version)) for name, version in rows)


def _data_directory(session: Session) -> str:
    """The data directory, when the role may see it (the setting is shown to pg_read_all_settings only)."""
    row = session.execute(
        "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'"
    ).fetchone()
    return "" if row is None else str(row[0])


def is_on_this_machine(session: Session) -> bool:
    """Whether the server was reached over a local socket or an address of this machine.

    A tunnel or a container's published port looks local too; then a reserve is kept for nothing.
    """
    host = session.info.hostaddr or session.info.host
    if not host or host.startswith(("/", "@")):
        return True
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with suppress(OSError), socket.socket(family) as probe:
        probe.bind((host, 0))  # only an address of this machine can be bound
        return True
    return False
