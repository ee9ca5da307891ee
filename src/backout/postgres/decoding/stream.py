"""Read a logical slot over the replication protocol; confirm only what was declared durable."""

from __future__ import annotations

import select
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psycopg
from psycopg import pq, sql

from backout.errors import BackoutError, NeighbourUnreachable
from backout.model.changes import lsn_text
from backout.postgres.connect import PINNED, Session, explain_refusal, open_session, place
from backout.postgres.decoding.messages import UnreadableStream
from backout.postgres.decoding.slot import cannot_read, partitioned_tables, read_slot, require_readable

_DATA, _KEEPALIVE = b"wk"
_HEADER = struct.Struct(">QQq")
_ALIVE = struct.Struct(">QqB")
_STATUS = struct.Struct(">cQQQqB")
_EPOCH_OF_POSTGRES = 946_684_800
_REPORT_SECONDS = 10.0
_WITHOUT_TIMEOUT = 300.0
"""Seconds that stand for `wal_sender_timeout` where the server has none."""
PATIENCE = 0.02
"""How long to wait for the next message before saying that there is none."""


@dataclass(frozen=True, slots=True)
class Silence:
    """The server has sent everything up to `position`, and nothing else is here for now."""

    position: int


@dataclass(frozen=True, slots=True)
class Source:
    """What to read, and from where."""

    dsn: str
    slot: str
    publications: tuple[str, ...]
    progress: int
    """The position up to which everything is durably applied: reading goes on from it."""
    application_name: str
    armed: str | None = None
    """The snapshot taken when the slot was armed (see `slot.arming_snapshot`)."""


class Stream:
    """An open slot. Not for several threads.

    The server ends a connection that is silent for `wal_sender_timeout`: whoever does something long
    between two reads calls `tend` now and then. Reconnecting is the caller's business: open a new stream
    with the progress that is durable by then.
    """

    def __init__(self, source: Source) -> None:
        """Look at the slot, then open it. Raises `Refused` when changes would be missing."""
        self._source = source
        self._durable = source.progress
        self._heard = source.progress
        self._reported = 0.0
        self._missed: str | None = None
        with open_session(source.dsn, source.application_name) as looking:
            require_readable(looking, source.slot, source.publications, source.progress, source.armed)
            self.partitioned = partitioned_tables(looking)
            self._session = _replication_session(source)
            try:
                self._session.add_notice_handler(self._notice)
                timeout = _sender_timeout(self._session)
                self._every = min(_REPORT_SECONDS, timeout / 4)
                # in the middle of a large transaction the server answers after half its timeout only
                self._dead_after = 2 * timeout
                self._begin(looking)
            except BaseException:
                self._session.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the slot stays where it was confirmed."""
        self._session.close()

    def frames(self, patience: float = PATIENCE) -> Iterator[bytes | Silence]:
        """Messages of the output plugin, for ever; `Silence` whenever nothing came for `patience` seconds.

        Raises `NeighbourUnreachable` when the connection ends or the server no longer answers, `Refused`
        when it says that it leaves changes out.
        """
        pgconn = self._session.pgconn
        silent = 0.0  # seconds waited here in vain; what the caller does between two reads does not count
        while True:
            try:
                size, view = pgconn.get_copy_data(1)
            except psycopg.OperationalError as error:
                raise self._lost(error) from None
            if self._missed is not None:
                raise cannot_read(self._source.slot, self._missed, place(self._source.dsn))
            if size < 0:
                raise self._ended()
            if size > 0:
                silent = 0.0
                yield self._understand(bytes(view))
            elif not self._wait(patience):
                silent += patience
                if silent > self._dead_after:
                    raise self._lost(psycopg.OperationalError(f"no answer for {silent:.0f} s"))
                yield Silence(self._heard)
            self.tend()

    def acknowledge(self, lsn: int) -> None:
        """Everything before `lsn` is durable: the server may forget it. Only ever call it after the commit
        that recorded this progress is flushed."""
        if lsn > self._durable:
            self._durable = lsn
            self._report()

    def tend(self) -> None:
        """Keep the connection alive: repeat what was acknowledged when that is due, and ask for an answer."""
        if time.monotonic() - self._reported > self._every:
            self._report(ask=1)

    def _begin(self, looking: Session) -> None:
        """Start, then look again: between the first look and now somebody may have moved the slot; from now
        on it is ours."""
        source = self._source
        names = ",".join(sql.Identifier(name).as_string() for name in source.publications)
        command = sql.SQL(
            "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {}, messages 'true')"
        ).format(sql.Identifier(source.slot), sql.SQL(lsn_text(source.progress)), sql.Literal(names))
        result = self._session.pgconn.exec_(command.as_bytes(self._session))
        if result.status != pq.ExecStatus.COPY_BOTH:
            if isinstance(error := psycopg.errors.error_from_result(result), psycopg.errors.ObjectInUse):
                raise self._lost(error)  # a reader that died: its server process has not noticed yet
            raise cannot_read(source.slot, result.get_error_message(), place(source.dsn))
        moved = read_slot(looking, source.slot)
        if moved.confirmed_flush > source.progress:
            why = f"it was moved to {lsn_text(moved.confirmed_flush)} while it was being opened"
            raise cannot_read(source.slot, why, place(source.dsn))
        self._report()

    def _wait(self, patience: float) -> bool:
        """Wait for bytes and take them in; False when none came."""
        pgconn = self._session.pgconn
        waiting_to_write = [pgconn.socket] if pgconn.flush() else []
        ready, writable, _ = select.select([pgconn.socket], waiting_to_write, [], patience)
        if ready:
            try:
                pgconn.consume_input()
            except psycopg.OperationalError as error:
                raise self._lost(error) from None
        return bool(ready or writable)

    def _understand(self, data: bytes) -> bytes | Silence:
        if data[0] == _DATA and len(data) > _HEADER.size:
            return data[1 + _HEADER.size :]
        if data[0] == _KEEPALIVE and len(data) == 1 + _ALIVE.size:
            position, _, wants_answer = _ALIVE.unpack_from(data, 1)
            self._heard = max(self._heard, position)
            if wants_answer:
                self._report()
            return Silence(self._heard)
        raise UnreadableStream(f"a replication message of unknown kind {data[:1]!r}")

    def _report(self, ask: int = 0) -> None:
        """Standby status update: written, flushed and applied are the same to us, and all of it durable."""
        now = int((time.time() - _EPOCH_OF_POSTGRES) * 1_000_000)
        durable = self._confirmed()
        status = _STATUS.pack(b"r", durable, durable, durable, now, ask)
        pgconn = self._session.pgconn
        try:
            pgconn.put_copy_data(status)
            pgconn.flush()
        except psycopg.OperationalError as error:
            raise self._lost(error) from None
        self._reported = time.monotonic()

    def _confirmed(self) -> int:
        return self._durable

    def _notice(self, told: psycopg.errors.Diagnostic) -> None:
        """PostgreSQL 18 goes on without a publication that did not exist yet, and says so only here."""
        if told.severity_nonlocalized == "WARNING" and told.source_function == "LoadPublications":
            self._missed = f"{told.message_primary}: changes made before it existed are not in the stream"

    def _ended(self) -> BackoutError:
        """Why the server ended the stream."""
        result = self._session.pgconn.get_result()
        if result is None or result.status != pq.ExecStatus.FATAL_ERROR:
            return self._lost(psycopg.OperationalError("the server ended the stream"))
        error = psycopg.errors.error_from_result(result)
        if isinstance(error, psycopg.errors.UndefinedObject):  # PostgreSQL 17 and older
            why = f"{error.diag.message_primary}, at this point of the log"
            return cannot_read(self._source.slot, why, place(self._source.dsn))
        return self._lost(error)

    def _lost(self, error: psycopg.Error) -> NeighbourUnreachable:
        text = error.diag.message_primary or (str(error).strip() or "no reason given").splitlines()[0]
        return NeighbourUnreachable(
            f"the change stream of slot {self._source.slot} broke off: {text}",
            where=place(self._source.dsn),
            intact="everything that was applied is recorded; the slot keeps the rest",
            next="backout resume",
        )


class Peek(Stream):
    """The same, and nothing is confirmed: the slot stays where it is, whatever was read. A position of 0 in
    a status update leaves a slot alone."""

    def _confirmed(self) -> int:
        return 0


def _replication_session(source: Source) -> Session:
    """A connection that speaks the replication protocol, with every text form pinned: the output functions
    of the values run in it."""
    try:
        session: Session = psycopg.connect(
            source.dsn,
            replication="database",
            application_name=source.application_name,
            connect_timeout=10,
            autocommit=True,
        )
    except psycopg.OperationalError as error:
        raise explain_refusal(error, source.dsn) from None
    for name, value in {**PINNED, "client_min_messages": "warning", "statement_timeout": "0"}.items():
        command = sql.SQL("SELECT pg_catalog.set_config({}, {}, false)").format(name, value)
        session.execute(command)
    return session


def _sender_timeout(session: Session) -> float:
    """Seconds of silence after which the server ends the connection."""
    row = session.execute(
        "SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'"
    ).fetchone()
    assert row is not None
    return row[0] / 1000 if row[0] else _WITHOUT_TIMEOUT
