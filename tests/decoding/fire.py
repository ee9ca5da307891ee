"""Writers on the source with a ledger outside the databases, and the comparison afterwards."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

COUNTERS = 20
TABLES = ("counters", "moved", "docs", "notes", "events", "places", "kept")
MADE = (
    "CREATE TABLE counters (id int PRIMARY KEY, n bigint NOT NULL DEFAULT 0)",
    "CREATE TABLE moved (id bigint PRIMARY KEY, v int NOT NULL)",
    "CREATE TABLE docs (id int PRIMARY KEY, body text NOT NULL, v int NOT NULL)",
    "ALTER TABLE docs ALTER body SET STORAGE EXTERNAL",
    "CREATE TABLE notes (writer int, word text, n numeric, data json)",
    "ALTER TABLE notes REPLICA IDENTITY FULL",
    "CREATE TABLE events (id bigint, at int, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
    "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (50)",
    "CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (50) TO (100)",
    "CREATE TABLE places (id int PRIMARY KEY, place int UNIQUE NOT NULL)",
    "CREATE TABLE kept (id bigint PRIMARY KEY)",
    f"INSERT INTO counters SELECT generate_series(1, {COUNTERS})",
    "INSERT INTO docs SELECT n, (SELECT string_agg(md5((n * g)::text), '') FROM generate_series(1, 100) g), 0"
    " FROM generate_series(1, 10) n",
    "INSERT INTO places SELECT n, n FROM generate_series(1, 40) n",
)


@dataclass
class Writer:
    """One session of the application; what was acknowledged goes to its file at once."""

    dsn: str
    number: int
    ledger: Path
    stop: threading.Event

    def run(self) -> None:
        dice = random.Random(self.number)
        serial = self.number * 1_000_000
        acts: list[Callable[[psycopg.Connection, random.Random, int], list[str]]] = [
            count, count, insert, delete, move, doc, note, event, swap,
        ]  # fmt: skip
        with psycopg.connect(self.dsn, autocommit=True) as connection, self.ledger.open("a") as file:
            while not self.stop.is_set():
                serial += 1
                with connection.transaction():
                    told = dice.choice(acts)(connection, dice, serial)
                file.write(json.dumps(told) + "\n")
                file.flush()
                self.stop.wait(0.003)


def count(connection: psycopg.Connection, dice: random.Random, serial: int) -> list[str]:
    key = dice.randint(1, COUNTERS)
    connection.execute("UPDATE counters SET n = n + 1 WHERE id = %s", (key,))
    return ["count", str(key)]


def insert(connection: psycopg.Connection, dice: random.Random, serial: int) -> list[str]:
    connection.execute("INSERT INTO kept VALUES (%s)", (serial,))
    return ["insert", str(serial)]


def delete(connection: psycopg.Connection, dice: random.Random, serial: int) -> list[str]:
    first = serial - serial % 1_000_000
    row = connection.execute(
        "DELETE FROM kept WHERE id = (SELECT max(id) FROM kept WHERE id BETWEEN %s AND %s) RETURNING id",
        (first, serial),
    ).fetchone()
    return ["delete", str(row[0])] if row else ["nothing"]


def move(connection: psycopg.Connection, dice: random.Random, serial: int) -> list[str]:
    connection.execute("INSERT INTO moved VALUES (%s, 0)", (serial,))
    connection.execute("UPDATE moved SET id = -id, v = v + 1 WHERE id = %s", (serial,))
    return ["move", str(-serial)]


def doc(connection: psycopg.Connection, dice: random.Random, serial: int) -> list[str]:
    connection.execute("UPDATE docs SET v = v + 1 WHERE id = %s", (dice.randint(1, 10),))
    return ["doc"]


def note(connection: psycopg.Connection, dice: random.Random, serial: int) -> list[str]:
    writer = serial // 1_000_000
    word = dice.choice(["a", "b", None])
    connection.execute(
        "INSERT INTO notes SELECT %s, %s, n, '{\"x\": 1}' FROM unnest(ARRAY[1.0, 1.00, 1.0]) n",
        (writer, word),
    )
    one = "ctid = (SELECT ctid FROM notes WHERE writer = %s ORDER BY ctid LIMIT 1)"
    connection.execute(f"DELETE FROM notes WHERE {one}", (writer,))
    connection.execute(f"UPDATE notes SET word = 'changed' WHERE {one}", (writer,))
    return ["note"]


def event(connection: psycopg.Connection, dice: random.Random, serial: int) -> list[str]:
    connection.execute("INSERT INTO events VALUES (%s, %s, 'new')", (serial, dice.randrange(100)))
    connection.execute("UPDATE events SET at = (at + 50) %% 100 WHERE id = %s", (serial - 1,))
    connection.execute("DELETE FROM events WHERE id = %s", (serial - 20,))
    return ["event"]


def swap(connection: psycopg.Connection, dice: random.Random, serial: int) -> list[str]:
    """Two rows of this writer's own exchange unique values."""
    first = 1 + (serial // 1_000_000 - 1) * 10
    one, other = dice.sample(range(first, first + 10), 2)
    places = connection.execute("SELECT id, place FROM places WHERE id = ANY(%s)", ([one, other],)).fetchall()
    where: dict[int, int] = dict(places)
    connection.execute("UPDATE places SET place = %s WHERE id = %s", (-one, one))
    connection.execute("UPDATE places SET place = %s WHERE id = %s", (where[one], other))
    connection.execute("UPDATE places SET place = %s WHERE id = %s", (where[other], one))
    return ["swap"]


@contextmanager
def under_fire(dsn: str, directory: Path, writers: int = 3) -> Iterator[list[Path]]:
    stop = threading.Event()
    made = [Writer(dsn, n, directory / f"ledger-{n}", stop) for n in range(1, writers + 1)]
    threads = [threading.Thread(target=writer.run) for writer in made]
    for thread in threads:
        thread.start()
    try:
        yield [writer.ledger for writer in made]
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def acknowledged(ledgers: list[Path]) -> list[list[str]]:
    lines = [line for ledger in ledgers for line in ledger.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def differences(dsn: str, ledgers: list[Path]) -> list[str]:
    """What the database lacks of the ledger, or has twice."""
    told = acknowledged(ledgers)
    with psycopg.connect(dsn) as connection:
        counted: dict[str, int] = dict(connection.execute("SELECT id::text, n FROM counters").fetchall())
        kept = {row[0] for row in connection.execute("SELECT id::text FROM kept")}
        moved = Counter(row for row in connection.execute("SELECT id::text, v FROM moved"))
    increments = Counter(key for act, *rest in told if act == "count" for key in rest)
    wrong = [f"counter {k}: {counted[k]} of {increments[k]}" for k in counted if counted[k] != increments[k]]
    alive = {rest[0] for act, *rest in told if act == "insert"}
    alive -= {rest[0] for act, *rest in told if act == "delete"}
    wrong += [f"kept {key}" for key in sorted(alive ^ kept)]
    wanted = Counter((rest[0], 1) for act, *rest in told if act == "move")
    return wrong + [f"moved {row}" for row in ((wanted - moved) + (moved - wanted))]


def contents(dsn: str) -> dict[str, list[str]]:
    with psycopg.connect(dsn) as connection:
        return {
            table: [row[0] for row in connection.execute(f"SELECT t::text FROM {table} t ORDER BY 1")]
            for table in TABLES
        }
