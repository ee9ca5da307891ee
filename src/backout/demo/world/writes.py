"""What the application writes, version by version.

v41 knows nothing of the columns that v42 fills. v43 writes into seasons and mottos; v44 knows neither, so its
writes succeed before, during and after the migration that empties the one and drops the other.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from psycopg import Connection, sql

USERS = 2_000
SEASONS = 4
_REMEMBERED = 40
"""How many of its own snapshots a client may still correct."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write to one row. `key` is 0 until the database has given one."""

    kind: str
    key: int
    values: Mapping[str, object]

    @property
    def table(self) -> str:
        return _TABLES[self.kind]


_TABLES = {
    "visit": "users",
    "motto": "users",
    "snapshot": "hero_snapshots",
    "correction": "hero_snapshots",
    "retake": "hero_snapshots",
    "cheer": "cheers",
}
_REPEATABLE = ("visit", "motto", "correction", "retake")


class Gone(Exception):
    """The row that a client wrote to is not there: nothing was written, and nothing is acknowledged."""


class Hand:
    """Chooses the next write of one client. Clients share no row, so the last acknowledged value is known."""

    def __init__(self, client: int, users: Sequence[int]) -> None:
        self._users = users
        self._random = random.Random(f"{client}-{time.time_ns()}")  # noqa: S311 - no secret
        self._seen = 0
        self._own: list[int] = []
        self._again: Write | None = None

    def next(self, version: str) -> Write:
        """A snapshot mostly, sometimes a visit; the rest of what the version does, to rows of its own."""
        habits = _HABITS[version]
        again, self._again = self._again, None
        if again is not None and again.kind in habits:
            return again
        kind = self._random.choices(list(habits), list(habits.values()))[0]
        if kind in ("visit", "motto"):
            return self._to_user(kind)
        if kind == "snapshot" or not self._own:
            return self._snapshot(version)
        own = self._random.choice(self._own)
        match kind:
            case "correction":
                return Write(kind, own, self._said(never_null=True))
            case "retake":
                return Write(kind, own, {"power": self._random.randint(1, 9_999)})
            case _:
                return Write(kind, 0, {"snapshot_id": own, "nonce": uuid4().hex})

    def _to_user(self, kind: str) -> Write:
        """What only grows: a later value stands for all before it."""
        self._seen = max(self._seen + 1, time.time_ns() // 1_000)
        value = {"seen": self._seen} if kind == "visit" else {"motto": f"onwards {self._seen}"}
        return Write(kind, self._random.choice(self._users[:100]), value)

    def _snapshot(self, version: str) -> Write:
        values: dict[str, object] = {
            "user_id": self._random.choice(self._users),
            "nonce": uuid4().hex,
            "power": self._random.randint(1, 9_999),
        }
        more = {"v42": self._said, "v43": self._season}.get(version, dict)
        return Write("snapshot", 0, values | more())

    def _season(self) -> dict[str, object]:
        return {"season_id": self._random.randint(1, SEASONS)}

    def _said(self, never_null: bool = False) -> dict[str, object]:
        """Source and confidence; of one snapshot in ten the model is not confident at all."""
        source = f"camera-{self._random.randint(1, 40)}"
        unsure = not never_null and self._random.random() < 0.1
        # a multiple of 1/128: exact as a `real`, so that it reads back as it was written
        return {"source": source, "confidence": None if unsure else self._random.randint(1, 127) / 128}

    def done(self, write: Write) -> None:
        """Remember an acknowledged snapshot, so that it can be written to later."""
        if write.kind == "snapshot":
            self._own = [*self._own[-_REMEMBERED:], write.key]

    def doubted(self, write: Write) -> None:
        """Its answer never came, so it may have happened. What sets a value is done once more, and the last
        acknowledged value is known again; what makes a row is not: that would be two."""
        if write.kind in _REPEATABLE:
            self._again = write

    def gone(self, write: Write) -> None:
        """Forget a snapshot that is not there any more."""
        lost = write.values.get("snapshot_id", write.key)
        self._own = [key for key in self._own if key != lost]


_HABITS: Mapping[str, Mapping[str, float]] = {
    "v41": {"visit": 0.2, "snapshot": 0.8},
    "v42": {"visit": 0.2, "correction": 0.15, "snapshot": 0.65},
    "v43": {"visit": 0.15, "motto": 0.1, "retake": 0.1, "cheer": 0.15, "snapshot": 0.5},
    "v44": {"visit": 0.2, "retake": 0.15, "cheer": 0.15, "snapshot": 0.5},
}
"""How often a client of each version does what."""


def _visit(session: Connection, write: Write) -> Write:
    session.execute("UPDATE users SET seen = %s WHERE id = %s", (write.values["seen"], write.key))
    return write


def _payload(values: Mapping[str, object]) -> str:
    return json.dumps({"nonce": values["nonce"], "power": values["power"], "pose": "heroic"})


def _v41(session: Connection, write: Write) -> Write:
    """v41 names no column of the snapshot, so it writes to the schema before and after the migration."""
    if write.kind == "visit":
        return _visit(session, write)
    values = write.values
    row = session.execute(
        "INSERT INTO hero_snapshots VALUES (DEFAULT, %s, now(), %s, %s) RETURNING id",
        (values["user_id"], _payload(values), values["power"]),
    ).fetchone()
    return _with_key(write, row)


def _v42(session: Connection, write: Write) -> Write:
    """v42 writes the columns that the migration made."""
    values = write.values
    if write.kind == "visit":
        return _visit(session, write)
    if write.kind == "correction":
        session.execute(
            "UPDATE hero_snapshots SET source = %s, confidence = %s WHERE id = %s",
            (values["source"], values["confidence"], write.key),
        )
        return write
    return _insert(session, write, "strength", "source", "confidence")


def _insert(session: Connection, write: Write, power: str, *more: str) -> Write:
    """A snapshot, its columns by name; `power` is what the column of that value is called."""
    values = write.values
    named = {"user_id": values["user_id"], "payload": _payload(values), power: values["power"]}
    named |= {name: values[name] for name in more}
    query = sql.SQL("INSERT INTO hero_snapshots ({}) VALUES ({}) RETURNING id").format(
        sql.SQL(", ").join(map(sql.Identifier, named)), sql.SQL(", ").join([sql.Placeholder()] * len(named))
    )
    return _with_key(write, session.execute(query, list(named.values())).fetchone())


def _with_key(write: Write, row: tuple[object, ...] | None) -> Write:
    assert row is not None
    assert isinstance(row[0], int)
    return replace(write, key=row[0])


def _v43(session: Connection, write: Write) -> Write:
    """v43 knows seasons and mottos."""
    match write.kind:
        case "motto":
            query = "UPDATE users SET motto = %s WHERE id = %s"
            session.execute(query, (write.values["motto"], write.key))
            return write
        case "snapshot":
            return _insert(session, write, "power", "season_id")
        case _:
            return _v44(session, write)


def _v44(session: Connection, write: Write) -> Write:
    """v44 names neither a season nor a motto. Raises `Gone` where the row that it writes to is not there."""
    match write.kind:
        case "visit":
            return _visit(session, write)
        case "retake":
            query = "UPDATE hero_snapshots SET power = %s WHERE id = %s"
            if not session.execute(query, (write.values["power"], write.key)).rowcount:
                raise Gone
            return write
        case "cheer":
            return _cheer(session, write)
        case _:
            return _insert(session, write, "power")


def _cheer(session: Connection, write: Write) -> Write:
    """The snapshot first, then what hangs on it: the order in which a TRUNCATE takes their locks too."""
    snapshot = write.values["snapshot_id"]
    with session.transaction():
        there = session.execute("SELECT 1 FROM hero_snapshots WHERE id = %s FOR KEY SHARE", (snapshot,))
        if there.fetchone() is None:
            raise Gone
        row = session.execute(
            "INSERT INTO cheers (snapshot_id, nonce) VALUES (%s, %s) RETURNING id",
            (snapshot, write.values["nonce"]),
        ).fetchone()
    return _with_key(write, row)


WRITERS: Mapping[str, Callable[[Connection, Write], Write]] = {
    "v41": _v41,
    "v42": _v42,
    "v43": _v43,
    "v44": _v44,
}
