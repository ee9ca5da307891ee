"""What the application writes, in its two versions: v42 fills the new columns, v41 knows nothing of them."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from psycopg import Connection

USERS = 2_000
_REMEMBERED = 40
"""How many of its own snapshots a client may still correct."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write to one row. `key` is 0 until the database has given one."""

    kind: str
    """`snapshot` and `correction` go to hero_snapshots, `visit` to users."""
    key: int
    values: Mapping[str, object]

    @property
    def table(self) -> str:
        return "users" if self.kind == "visit" else "hero_snapshots"


class Hand:
    """Chooses the next write of one client. Clients share no row, so the last acknowledged value is known."""

    def __init__(self, client: int, users: Sequence[int]) -> None:
        self._users = users
        self._random = random.Random(f"{client}-{time.time_ns()}")  # noqa: S311 - no secret
        self._seen = 0
        self._own: list[int] = []

    def next(self, version: str) -> Write:
        """A snapshot mostly, sometimes a visit; v42 also corrects what it said of a snapshot before."""
        dice = self._random.random()
        if dice < 0.2:
            return self._visit()
        if dice < 0.35 and version == "v42" and self._own:
            return Write("correction", self._random.choice(self._own), self._said(never_null=True))
        return self._snapshot(version)

    def _visit(self) -> Write:
        self._seen = max(self._seen + 1, time.time_ns() // 1_000)
        return Write("visit", self._random.choice(self._users[:100]), {"seen": self._seen})

    def _snapshot(self, version: str) -> Write:
        values: dict[str, object] = {
            "user_id": self._random.choice(self._users),
            "nonce": uuid4().hex,
            "power": self._random.randint(1, 9_999),
        }
        return Write("snapshot", 0, values | (self._said() if version == "v42" else {}))

    def _said(self, never_null: bool = False) -> dict[str, object]:
        """Source and confidence; of one snapshot in ten the model is not confident at all."""
        source = f"camera-{self._random.randint(1, 40)}"
        unsure = not never_null and self._random.random() < 0.1
        # a multiple of 1/128: exact as a `real`, so that it reads back as it was written
        return {"source": source, "confidence": None if unsure else self._random.randint(1, 127) / 128}

    def done(self, write: Write) -> None:
        """Remember an acknowledged snapshot of v42, so that it can be corrected later."""
        if write.kind == "snapshot" and "source" in write.values:
            self._own = [*self._own[-_REMEMBERED:], write.key]


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
    row = session.execute(
        """INSERT INTO hero_snapshots (user_id, payload, strength, source, confidence)
           VALUES (%s, %s, %s, %s, %s) RETURNING id""",
        (values["user_id"], _payload(values), values["power"], values["source"], values["confidence"]),
    ).fetchone()
    return _with_key(write, row)


def _with_key(write: Write, row: tuple[object, ...] | None) -> Write:
    assert row is not None
    assert isinstance(row[0], int)
    return replace(write, key=row[0])


WRITERS: Mapping[str, Callable[[Connection, Write], Write]] = {"v41": _v41, "v42": _v42}
