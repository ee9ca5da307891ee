"""Backups that somebody else made, restored to a scratch server: plain SQL, packed or not, and archives.

A plain dump that was cut restores "successfully" with half its rows (measured), so it counts only when its
last line and the end of every table are there, and nothing was refused on the way.
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psycopg
from psycopg import sql

from backout.errors import Refused
from backout.model.target import CopyMarker
from backout.ports.servers import SourceFacts
from backout.postgres import plain_dump
from backout.postgres.binaries import Binaries
from backout.postgres.catalog import read_schema
from backout.postgres.client import connection_environment, run_client
from backout.postgres.connect import Session, open_session, with_database
from backout.postgres.manifest import sha256_of
from backout.postgres.marks import mark
from backout.postgres.restore import create_database

# Owners, grants and what reaches other databases are not the copy's business; the rest must go in whole.
_LEFT_OUT = re.compile(
    rb"""\s*(?:
        ALTER\s.+\sOWNER\s+TO\s | GRANT\s | REVOKE\s | ALTER\s+DEFAULT\s+PRIVILEGES\s
      | (?:CREATE|ALTER|DROP)\s+(?:DATABASE|ROLE|USER|PUBLICATION|SUBSCRIPTION|EVENT\s+TRIGGER|SERVER
                                 |USER\s+MAPPING|TABLESPACE)\s
      | SECURITY\s+LABEL\s | COMMENT\s+ON\s+(?:EXTENSION|DATABASE|PUBLICATION|SUBSCRIPTION)\s
    )""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_COPY = re.compile(rb"\s*COPY\s.+\sFROM\s+stdin\s*;\s*\Z", re.DOTALL | re.IGNORECASE)
_SETTING = re.compile(rb"\s*SET\s", re.IGNORECASE)


class Form(StrEnum):
    """How a backup lies there."""

    PLAIN = "plain SQL"
    ARCHIVE = "pg_dump archive"


@dataclass(frozen=True, slots=True)
class Adopted:
    """What a restored backup holds."""

    form: Form
    sha256: str
    tables: tuple[tuple[str, int], ...]
    """(qualified name, rows)."""
    newest: str
    """The newest time stamp in any column, RFC 3339; empty = there is none."""
    left_out: int
    """Statements about owners, grants and other databases that were not carried out."""

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(rows for _, rows in self.tables)


def form_of(path: Path) -> Form:
    """Raises `Refused` for anything that is no dump of pg_dump."""
    if (path / "toc.dat").is_file():
        return Form.ARCHIVE
    if path.is_file():
        with path.open("rb") as stream:
            if stream.read(5) == b"PGDMP":
                return Form.ARCHIVE
        if tarfile.is_tarfile(path):
            return Form.ARCHIVE
        if plain_dump.looks_plain(path):
            return Form.PLAIN
    raise Refused(
        "this is no backup that backout can read: a dump of pg_dump is wanted, plain (also .gz, .zst), "
        "custom, directory or tar",
        where=str(path),
        intact="everything",
        next="backout snapshot adopt FILE",
    )


def digest(path: Path) -> str:
    """SHA-256 of the file; of a directory that of its table of contents (its data is read in the restore)."""
    return sha256_of(path / "toc.dat" if path.is_dir() else path)


def restore(
    path: Path,
    dsn: str,
    database: str,
    facts: SourceFacts,
    binaries: Binaries,
    marker: CopyMarker,
    *,
    application_name: str,
    jobs: int = 2,
) -> Adopted:
    """Restore a backup to the new database `database` of the scratch server behind `dsn`, read it, mark it.

    `facts` are the target's: the copy gets its encoding and locale. An unfinished copy is dropped. Raises
    `Refused` with what the server said when a single statement does not go in.
    """
    form, sha256 = form_of(path), digest(path)
    copy = with_database(dsn, database)
    with open_session(dsn, application_name) as admin:
        create_database(admin, database, facts)
        try:
            if form is Form.PLAIN:
                left_out = _fill_plain(path, copy, application_name)
            else:
                left_out = _fill_archive(path, copy, binaries, application_name, jobs)
            with open_session(copy, application_name) as session:
                session.execute("ANALYZE")
                tables = _counted(session)
                newest = _newest(session)
                mark(session, marker)
        except BaseException:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))
            raise
    return Adopted(form, sha256, tables, newest, left_out)


def _fill_plain(path: Path, dsn: str, application_name: str) -> int:
    left_out = 0
    with open_session(dsn, application_name) as session:

        def take(dump: plain_dump.Dump, statement: bytes) -> None:
            nonlocal left_out
            if _LEFT_OUT.match(statement):
                left_out += 1
            elif _COPY.match(statement):
                with session.cursor().copy(statement) as copy:
                    dump.rows(copy.write)
            else:
                _send(session, statement)

        try:
            plain_dump.read(path, take)
        except psycopg.Error as error:
            raise _refused(path, error.diag.message_primary or str(error)) from None
    return left_out


def _send(session: Session, statement: bytes) -> None:
    try:
        session.execute(statement)
    except psycopg.errors.UndefinedObject:
        if not _SETTING.match(statement):
            raise
        # A newer pg_dump sets parameters that an older server does not know.


def _fill_archive(path: Path, dsn: str, binaries: Binaries, application_name: str, jobs: int) -> int:
    several = () if path.is_file() and tarfile.is_tarfile(path) else (f"--jobs={jobs}",)
    arguments = [
        *(
            binaries.program("pg_restore"),
            "--exit-on-error",
            "--no-password",
            "--no-owner",
            "--no-privileges",
        ),
        *("--no-publications", "--no-subscriptions", "--no-security-labels", "--no-tablespaces", *several),
        *(f"--dbname={psycopg.conninfo.conninfo_to_dict(dsn)['dbname']}", str(path)),
    ]
    with connection_environment(dsn, application_name, {"timezone": "UTC"}) as environment:
        ended = run_client(arguments, environment)
    if ended.exit_code != 0:
        raise _refused(path, f"pg_restore {ended.died}: {ended.message}")
    return 0


def _refused(path: Path, said: str) -> Refused:
    return Refused(
        f"the backup does not restore: {said}",
        where=str(path),
        intact="everything; the file was only read, the unfinished copy was dropped",
        next="backout doctor; then adopt another backup",
    )


def _counted(session: Session) -> tuple[tuple[str, int], ...]:
    found = []
    for table in read_schema(session).tables:
        if table.has_rows:
            query = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(table.schema, table.name))
            row = session.execute(query).fetchone()
            found.append((table.qualified, int(row[0]) if row else 0))
    return tuple(found)


def _newest(session: Session) -> str:
    """The newest time stamp of any column that is not in the future: how old the contents really are."""
    newest = ""
    for table in read_schema(session).tables:
        columns = [c for c in table.columns if c.type.startswith("timestamp") and not c.generated]
        if not table.has_rows or not columns:
            continue
        each = sql.SQL(", ").join(
            sql.SQL("max({c}) FILTER (WHERE {c} <= pg_catalog.now())").format(c=sql.Identifier(c.name))
            for c in columns
        )
        query = sql.SQL("SELECT {} FROM ONLY {}").format(each, sql.Identifier(table.schema, table.name))
        row = session.execute(query).fetchone()
        seen = [value.isoformat(timespec="seconds") for value in row or () if value is not None]
        newest = max([newest, *(text if "+" in text else f"{text}+00:00" for text in seen)])
    return newest
