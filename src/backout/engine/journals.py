"""The journal in SQLite (the truth of an incident) and in memory (for stories in tests)."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backout.engine import chain
from backout.errors import Stopped
from backout.model.journal import Entry, EntryKind

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, in UTC. Order never depends on it: entries are ordered by `seq`."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class MemoryJournal:
    """A journal that lives as long as the process; for tests."""

    def __init__(self, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._entries: dict[str, list[Entry]] = defaultdict(list)

    def append(
        self,
        incident: str,
        kind: EntryKind,
        key: str,
        body: Mapping[str, Any],
        *,
        actor: str,
        attempt: int = 1,
    ) -> Entry:
        chain_of = self._entries[incident]
        head = chain_of[-1] if chain_of else None
        ready = json.loads(json.dumps(dict(body)))
        entry = chain.make(
            head, incident, kind, key, ready, actor=actor, attempt=attempt, at=stamp(self._clock())
        )
        chain_of.append(entry)
        return entry

    def read(self, incident: str, *, after: int = 0) -> tuple[Entry, ...]:
        return tuple(self._entries.get(incident, ())[after:])

    def incidents(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def verify(self, incident: str) -> Entry | None:
        return chain.check(self.read(incident))


_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
  incident TEXT NOT NULL, seq INTEGER NOT NULL, at TEXT NOT NULL, actor TEXT NOT NULL, kind TEXT NOT NULL,
  key TEXT NOT NULL, attempt INTEGER NOT NULL, body TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL,
  PRIMARY KEY (incident, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS anchor (incident TEXT NOT NULL, seq INTEGER NOT NULL, hash TEXT NOT NULL,
  PRIMARY KEY (incident, seq)) WITHOUT ROWID;
"""
_COLUMNS = "incident, seq, at, actor, kind, key, attempt, body, prev, hash"


class SqliteJournal:
    """The journal in one SQLite file (WAL, every append durable before it returns).

    Never on a network file system, never on an instance that may be backed out. A write that fails
    raises `Stopped`: what cannot be recorded is not done.
    """

    def __init__(self, path: Path, clock: Clock = utc_now) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def append(
        self,
        incident: str,
        kind: EntryKind,
        key: str,
        body: Mapping[str, Any],
        *,
        actor: str,
        attempt: int = 1,
    ) -> Entry:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                head = self._head(incident)
                ready = json.loads(json.dumps(dict(body)))
                entry = chain.make(
                    head, incident, kind, key, ready, actor=actor, attempt=attempt, at=stamp(self._clock())
                )
                self._db.execute(
                    f"INSERT INTO entry ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)",  # noqa: S608 - constant
                    _row(entry),
                )
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise self._unwritable(error) from None
            return entry

    def read(self, incident: str, *, after: int = 0) -> tuple[Entry, ...]:
        with self._lock:
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM entry WHERE incident = ? AND seq > ? ORDER BY seq",  # noqa: S608
                (incident, after),
            ).fetchall()
        return tuple(map(_entry, rows))

    def incidents(self) -> tuple[str, ...]:
        with self._lock:
            rows = self._db.execute("SELECT incident FROM entry WHERE seq = 1 ORDER BY at").fetchall()
        return tuple(row[0] for row in rows)

    def anchor(self, incident: str) -> Entry | None:
        """Remember the head apart from the chain (and hand it to the caller, who sends it outside)."""
        with self._lock:
            head = self._head(incident)
            if head is not None:
                self._db.execute(
                    "INSERT OR IGNORE INTO anchor VALUES (?,?,?)", (incident, head.seq, head.hash)
                )
            return head

    def verify(self, incident: str) -> Entry | None:
        with self._lock:
            rows = self._db.execute("SELECT seq, hash FROM anchor WHERE incident = ?", (incident,)).fetchall()
        return chain.check(self.read(incident), anchored=dict(rows))

    def _head(self, incident: str) -> Entry | None:
        row = self._db.execute(
            f"SELECT {_COLUMNS} FROM entry WHERE incident = ? ORDER BY seq DESC LIMIT 1",  # noqa: S608
            (incident,),
        ).fetchone()
        return _entry(row) if row else None

    def _unwritable(self, error: Exception) -> Stopped:
        return Stopped(
            f"the journal cannot be written, so nothing more is done: {error}",
            where=str(self._path),
            intact="the target; no effect is begun that cannot be recorded",
            next=f"free space or mend the rights of {self._path.parent}, then: backout resume",
        )


def _row(entry: Entry) -> tuple[object, ...]:
    body = json.dumps(entry.body, ensure_ascii=False, sort_keys=True)
    return (
        *(entry.incident, entry.seq, entry.at, entry.actor, entry.kind.value, entry.key, entry.attempt),
        *(body, entry.prev, entry.hash),
    )


def _entry(row: tuple[Any, ...]) -> Entry:
    incident, seq, at, actor, kind, key, attempt, body, prev, hash_ = row
    return Entry(incident, seq, at, actor, EntryKind(kind), key, attempt, json.loads(body), prev, hash_)
