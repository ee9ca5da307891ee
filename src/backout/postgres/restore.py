"""Restore a dump to a new database of a scratch server: roles first, every exit code looked at."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from backout.errors import Refused, Stopped
from backout.ports.servers import Scratch, SourceFacts
from backout.postgres import manifest as manifests
from backout.postgres.binaries import Binaries
from backout.postgres.client import Ended, connection_environment, reading, run_client
from backout.postgres.connect import Session, open_session, with_database
from backout.postgres.dump import DUMP
from backout.postgres.dump_stream import read_statements
from backout.postgres.manifest import Manifest
from backout.postgres.names import qualified
from backout.postgres.roles import apply_properties, can_set_owners, make_roles

# A foreign server with working credentials would let a rehearsal write into somebody's database.
_LEFT_OUT = ("USER MAPPING ",)
_FOREIGN_KEY = "FK CONSTRAINT "
_ENTRY = re.compile(r"\d+; \d+ \d+ ")
_NAME = r'(?:"(?:[^"]|"")+"|[^\s".,()]+)'
_PIECES = re.compile(r'"(?:[^"]|"")*"|[^"]+')
_REFERENCES = re.compile(rf"REFERENCES ({_NAME})\.({_NAME})\(")
_NOTHING_LEFT = "the source; the unfinished copy was dropped"


@dataclass(frozen=True, slots=True)
class Restored:
    """A restored database. `not_valid` = foreign keys to tables whose rows the dump left out;
    `notes` = what could not be carried over, in words for people."""

    database: str
    seconds: float
    size_bytes: int
    not_valid: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def bytes_per_second(self) -> float:
        """Rate for the forecast of the next restore."""
        return self.size_bytes / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class _Job:
    """One restore under way: what is restored, with what, to where."""

    dump: Path
    manifest: Manifest
    binaries: Binaries
    dsn: str
    application_name: str
    jobs: int
    watch: Callable[[], None] | None


def restore(
    directory: Path,
    scratch: Scratch,
    dsn: str,
    database: str,
    binaries: Binaries,
    *,
    application_name: str,
    jobs: int = 2,
    watch: Callable[[], None] | None = None,
) -> Restored:
    """Restore the dump in `directory` to the new database `database`; `dsn` reaches the scratch server.

    `binaries` are those that made the dump; `watch` is called while it runs and may raise to end it. An
    unfinished restore is dropped. Raises `Refused` when the dump differs from its manifest or the copy
    cannot be made, `Stopped` when pg_restore ends with anything but 0.
    """
    manifest = manifests.verify(directory)
    target = with_database(dsn, database)
    job = _Job(directory / DUMP, manifest, binaries, target, application_name, max(2, jobs), watch)
    begun = time.monotonic()
    with open_session(dsn, application_name) as admin:
        _require_fitting_client(admin, binaries)
        notes = make_roles(admin, manifest.origin.roles, powers=bool(scratch.data_directory))
        notes += create_database(admin, database, manifest.origin.facts)
        try:
            not_valid, more = _fill(job)
            notes += more + apply_properties(admin, database, manifest.origin.properties)
            size = admin.execute("SELECT pg_catalog.pg_database_size(%s)", (database,)).fetchone()
        except BaseException as error:
            _drop_after(admin, database, error)
            raise
    assert size is not None
    return Restored(database, time.monotonic() - begun, int(size[0]), not_valid, notes)


def _require_fitting_client(admin: Session, binaries: Binaries) -> None:
    """A pg_restore of 17 or newer sets a parameter that older servers do not know, and ends there."""
    major = admin.info.server_version // 10000
    if major < 17 <= binaries.major:
        raise Refused(
            f"pg_restore {binaries.version} cannot restore to a PostgreSQL {major} server",
            where=str(binaries.directory),
            intact="everything",
            next=f"apt-get install postgresql-client-{major}, then: backout snapshot take",
        )


def create_database(admin: Session, database: str, facts: SourceFacts) -> tuple[str, ...]:
    """An empty database with the encoding and locale of the source; where libc lacks it, by bytes."""
    _drop(admin, database)
    head = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} ").format(
        sql.Identifier(database), sql.Literal(facts.encoding)
    )
    try:
        admin.execute(head + _locale(facts, admin.info.server_version // 10000))
    except psycopg.Error as error:
        reason = error.diag.message_primary or ""
        if facts.locale_provider != "c" or "locale" not in reason.lower():
            raise Refused(
                f"the copy cannot be created: {reason}",
                where=f"{database} on the scratch server",
                intact="everything",
                next="backout doctor",
            ) from None
        admin.execute(head + sql.SQL("LC_COLLATE 'C' LC_CTYPE 'C'"))
        return (f"{facts.collate} is not on this machine: the copy sorts text by bytes",)
    return ()


def _locale(facts: SourceFacts, major: int) -> sql.Composable:
    libc = sql.SQL("LC_COLLATE {} LC_CTYPE {}").format(sql.Literal(facts.collate), sql.Literal(facts.ctype))
    if major < 15:
        return libc
    if facts.locale_provider == "i":
        return sql.SQL("LOCALE_PROVIDER icu ICU_LOCALE {} ").format(sql.Literal(facts.locale)) + libc
    if facts.locale_provider == "b":
        return sql.SQL("LOCALE_PROVIDER builtin BUILTIN_LOCALE {} ").format(sql.Literal(facts.locale)) + libc
    return sql.SQL("LOCALE_PROVIDER libc ") + libc


def _drop(admin: Session, database: str) -> None:
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


def _drop_after(admin: Session, database: str, error: BaseException) -> None:
    """Drop an unfinished copy; a failure of that is added to the first error, never put in its place."""
    try:
        _drop(admin, database)
    except psycopg.Error as second:
        error.add_note(f"the unfinished copy {database} could not be dropped: {second.diag.message_primary}")


def _fill(job: _Job) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Restore everything; returns the foreign keys left unproved, and notes."""
    entries = _entries(job)
    outside = _foreign_keys_to_outside(job, entries)
    keep = [
        entry for entry in entries if not _description(entry).startswith(_LEFT_OUT) and entry not in outside
    ]
    with open_session(job.dsn, job.application_name) as session:
        owners = can_set_owners(session)
        _run_restore(job, keep, _settings(session, job.manifest), () if owners else ("--no-owner",))
        notes = tuple(filter(None, (_add_not_valid(session, statement) for statement in outside.values())))
        if not owners:
            notes += (f"everything in the copy belongs to {session.info.user}, which is no superuser there",)
        session.execute("ANALYZE")
    return tuple(_description(entry).removeprefix(_FOREIGN_KEY).strip() for entry in outside), notes


def _settings(session: Session, manifest: Manifest) -> dict[str, str]:
    """Settings under which texts are read as they were written; money needs the source's locale."""
    settings = {"timezone": "UTC"}
    try:
        session.execute("SELECT set_config('lc_monetary', %s, false)", (manifest.origin.lc_monetary,))
    except psycopg.Error:
        return settings  # only a column of type money notices, and the proof says so
    return settings | {"lc_monetary": manifest.origin.lc_monetary}


def _run_restore(job: _Job, entries: list[str], settings: dict[str, str], more: tuple[str, ...]) -> None:
    """One run with at least two jobs: then each table is emptied in the transaction that fills it, which
    keeps its rows in the order of the dump (a later COPY would put small rows into gaps)."""
    with (
        tempfile.NamedTemporaryFile("w", prefix="backout-", suffix=".list") as listed,
        connection_environment(job.dsn, job.application_name, settings) as environment,
    ):
        listed.write("\n".join(entries) + "\n")
        listed.flush()
        arguments = [
            *(job.binaries.program("pg_restore"), f"--jobs={job.jobs}", "--exit-on-error", "--no-password"),
            *("--no-publications", "--no-subscriptions", "--no-security-labels", "--no-tablespaces"),
            *(*more, f"--use-list={listed.name}", f"--dbname={_database(job.dsn)}", str(job.dump)),
        ]
        ended = run_client(arguments, environment, watch=job.watch)
    _raise_for(ended)


def _database(dsn: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])


def _raise_for(ended: Ended) -> None:
    if ended.exit_code != 0:
        raise Stopped(
            f"pg_restore {ended.died}: {ended.message}",
            where="the scratch server",
            intact=_NOTHING_LEFT,
            next="backout doctor, then: backout resume",
        )


def _entries(job: _Job) -> list[str]:
    """The lines of the dump's table of contents, in the order of restoring."""
    with (
        connection_environment("", job.application_name, {}) as environment,
        reading([job.binaries.program("pg_restore"), "--list", str(job.dump)], environment) as run,
    ):
        text = run.stream.read()
        while chunk := run.stream.read(1 << 20):
            text += chunk
        _raise_for(run.ended())
    return [line for line in text.decode("utf-8", "replace").split("\n") if _ENTRY.match(line)]


def _description(entry: str) -> str:
    return _ENTRY.sub("", entry, count=1)


def _foreign_keys_to_outside(job: _Job, entries: list[str]) -> dict[str, str]:
    """Entry -> statement of each foreign key to a table whose rows the dump left out."""
    listed = [entry for entry in entries if _description(entry).startswith(_FOREIGN_KEY)]
    if not job.manifest.excluded or not listed:
        return {}
    statements = _statements_of(job, listed)
    if len(statements) != len(listed):
        raise Refused(
            f"{len(listed)} foreign keys in the dump's list, {len(statements)} in its text",
            where=str(job.dump),
            intact="the dump; the copy is dropped",
            next="backout snapshot take",
        )
    excluded = set(job.manifest.excluded)
    pairs = zip(listed, statements, strict=True)
    return {entry: statement for entry, statement in pairs if _referenced(statement) in excluded}


def _statements_of(job: _Job, entries: list[str]) -> list[str]:
    with (
        tempfile.NamedTemporaryFile("w", prefix="backout-", suffix=".list") as listed,
        connection_environment("", job.application_name, {}) as environment,
    ):
        listed.write("\n".join(entries) + "\n")
        listed.flush()
        arguments = [
            job.binaries.program("pg_restore"),
            f"--use-list={listed.name}",
            "-f",
            "-",
            str(job.dump),
        ]
        with reading(arguments, environment) as run:
            statements = [statement.decode() for statement in read_statements(run.stream)]
            _raise_for(run.ended())
    return [statement for statement in statements if statement.startswith("ALTER TABLE ")]


def _referenced(statement: str) -> str:
    """`schema.table` that a foreign key points to, looked for outside of quoted names."""
    at = 0
    for piece in _PIECES.findall(statement):
        if not piece.startswith('"') and (inside := piece.find("REFERENCES ")) >= 0:
            found = _REFERENCES.match(statement, at + inside)
            if found is not None:
                return qualified(_bare(found[1]), _bare(found[2]))
        at += len(piece)
    return ""


def _bare(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _add_not_valid(session: Session, statement: str) -> str:
    """Add a foreign key without looking at the rows; returns why it could not be added, or nothing."""
    text = statement.rstrip().removesuffix(";") + " NOT VALID"
    try:
        session.execute(text.encode())
    except psycopg.Error as error:
        return f"a foreign key to a table without rows was left out: {error.diag.message_primary}"
    return ""
