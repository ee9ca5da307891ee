"""The witness: a slot on the old side that shows every write which nobody replicated, behind the fence.

A transaction with a commit LSN behind that of our token and without an origin message is a stale writer. The
origin matters: without the filter the way back's own apply gave 5,385 false alarms in five seconds. "The
WAL stands still" proves nothing: a checkpoint and a vacuum moved it 4,008 bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg import sql

from backout.model.changes import lsn_of, lsn_text
from backout.model.cutover import StaleWrite
from backout.postgres.connect import Session
from backout.postgres.names import MESSAGE_PREFIX, qualified

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_OURS = "^(pg_|information_schema$|backout)"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the witness has seen so far. `upto` is handed to `forget` once it has been recorded."""

    token_lsn: str
    """Commit LSN of the token; empty while it has not been seen."""
    stale: tuple[StaleWrite, ...]
    upto: str


def tables(session: Session) -> tuple[tuple[str, str, bool], ...]:
    """(schema, name, whether updates and deletes can be published) of the application's tables."""
    rows = session.execute(
        """SELECT n.nspname::text, c.relname::text,
                  c.relreplident = 'f' AND NOT (  -- from 18 on updates would fail; see capture/tables.py
                      pg_catalog.current_setting('server_version_num')::int >= 180000 AND EXISTS (
                      SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
                      AND NOT a.attisdropped AND a.attgenerated <> '')) OR EXISTS (
                      SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisvalid
                      AND CASE c.relreplident WHEN 'i' THEN i.indisreplident
                                              WHEN 'd' THEN i.indisprimary ELSE false END)
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ %s ORDER BY 1, 2""",
        (_OURS,),
    ).fetchall()
    return tuple((r[0], r[1], r[2]) for r in rows)


def publish(session: Session, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Make the publications of this name for all tables; returns their names and the half-blind tables.

    A table without a replica identity is published for inserts only: published updates would make those of
    the application fail (55000). Publications that are there are left as they are.
    """
    found = tables(session)
    blind = tuple(qualified(schema, table) for schema, table, whole in found if not whole)
    made = []
    for suffix, whole, operations in (
        ("", True, "insert, update, delete, truncate"),
        ("_i", False, "insert"),
    ):
        chosen = [(s, t) for s, t, has in found if has is whole]
        if chosen:
            _create_publication(session, f"{name}{suffix}", chosen, operations)
            made.append(f"{name}{suffix}")
    return tuple(made), blind


def publications_of(name: str) -> tuple[str, ...]:
    """What `publish` may have made under this name."""
    return (name, f"{name}_i")


def _create_publication(session: Session, name: str, chosen: list[tuple[str, str]], operations: str) -> None:
    there = session.execute("SELECT 1 FROM pg_catalog.pg_publication WHERE pubname = %s", (name,)).fetchone()
    if there:
        return
    listed = sql.SQL(", ").join(sql.Identifier(*pair) for pair in chosen)
    session.execute(
        sql.SQL("CREATE PUBLICATION {} FOR TABLE {} WITH (publish = {})").format(
            sql.Identifier(name), listed, sql.Literal(operations)
        )
    )


def make_slot(session: Session, name: str, seconds: float) -> None:
    """Make a logical slot of this database, once. It waits for every running transaction with an xid,
    so the wait is bounded; nothing is left behind when it is not granted."""
    there = session.execute(
        "SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_name = %s", (name,)
    ).fetchone()
    if there:
        return
    with session.transaction():
        session.execute(
            "SELECT pg_catalog.set_config('lock_timeout', %s, true)", (f"{int(seconds * 1000)}ms",)
        )
        session.execute("SELECT pg_catalog.pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))


def drop(session: Session, slot: str, publications: tuple[str, ...]) -> None:
    """Remove slot and publications, where they are. Idempotent."""
    session.execute(
        """SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots
           WHERE slot_name = %s""",
        (slot,),
    )
    for name in publications:
        session.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(name)))


def say_token(session: Session, token: str) -> str:
    """Write the token into the WAL, committed and flushed; returns an LSN at or behind its commit record.

    The LSN that the function itself returns is that of the message; the commit record comes later.
    """
    with session.transaction():
        session.execute("SELECT pg_catalog.set_config('synchronous_commit', 'on', true)")
        session.execute("SELECT pg_catalog.pg_logical_emit_message(true, %s, %s)", (MESSAGE_PREFIX, token))
    row = session.execute("SELECT pg_catalog.pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    return str(row[0])


def look(session: Session, slot: str, publications: tuple[str, ...], token: str, token_lsn: str) -> Seen:
    """Read on without consuming. `token_lsn` is what an earlier look found, or empty."""
    rows = session.execute(
        """SELECT lsn::text, data FROM pg_catalog.pg_logical_slot_peek_binary_changes(%s, NULL, NULL,
               'proto_version', '1', 'publication_names', %s, 'messages', 'true')""",
        (slot, ",".join(publications)),
    ).fetchall()
    reading = _Reading(token, token_lsn)
    for lsn, data in rows:
        reading.take(lsn, bytes(data))
    return Seen(reading.token_lsn, tuple(reading.stale), reading.upto)


def forget(session: Session, slot: str, upto: str) -> None:
    """Let the server drop what was seen and recorded."""
    if upto:
        session.execute(
            "SELECT pg_catalog.pg_replication_slot_advance(%s, %s::pg_catalog.pg_lsn)", (slot, upto)
        )


class _Reading:
    """The few frames of pgoutput that matter here: begin, origin, message, changes, commit."""

    def __init__(self, token: str, token_lsn: str) -> None:
        self._token = token.encode()
        self.token_lsn = token_lsn
        self.stale: list[StaleWrite] = []
        self.upto = ""
        self._commit = 0
        self._at = _EPOCH
        self._xid = 0
        self._origin = self._changed = False

    def take(self, lsn: str, frame: bytes) -> None:
        match frame[:1]:
            case b"B":
                self._commit, micros, self._xid = struct.unpack_from("!qqI", frame, 1)
                self._at = _EPOCH + timedelta(microseconds=micros)
                self._origin = self._changed = False
            case b"O":
                self._origin = True
            case b"M":
                self._message(frame)
            case b"I" | b"U" | b"D" | b"T":
                self._changed = True
            case b"C":
                self._end(lsn)

    def _message(self, frame: bytes) -> None:
        prefix, _, rest = frame[10:].partition(b"\0")
        if prefix.decode() == MESSAGE_PREFIX and rest[4:] == self._token:
            self.token_lsn = lsn_text(self._commit)

    def _end(self, lsn: str) -> None:
        self.upto = lsn
        behind = bool(self.token_lsn) and self._commit > lsn_of(self.token_lsn)
        if behind and self._changed and not self._origin:
            at = self._at.isoformat(timespec="milliseconds")
            self.stale.append(StaleWrite(lsn_text(self._commit), self._xid, at))
