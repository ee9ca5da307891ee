"""Destructive migrations under writers: every row of the old schema against a ledger outside of databases.

Each client writes rows of its own, so the last acknowledged value of every cell is known. All keys are
compared, parked ones too: those must stand as they stood before.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg
import pytest

from backout.model.fates import Fate
from backout.postgres import parked
from backout.postgres.connect import open_session
from backout.testing.servers import RealServer
from tests.lost_writes.test_from_log import INCIDENT, World, logical, world

pytestmark = pytest.mark.slow

assert logical is not None, "the fixture of this module's servers"
CLIENTS = 4
ROOTS = " WITH (publish_via_partition_root = true)"
"""As a guard publishes."""

Row = dict[str, object]


@dataclass
class Client(threading.Thread):
    """One client and its part of the ledger, in the terms of the old schema."""

    connect: Callable[[], psycopg.Connection]
    number: int
    act: Callable[[Client, int], None]
    rows: dict[tuple[str, int], Row | None] = field(default_factory=dict)
    """What was acknowledged last of each row; None = deleted."""
    told: set[tuple[str, int]] = field(default_factory=set)
    """Rows that need a person, who has to hear of them."""
    frozen: set[tuple[str, int]] = field(default_factory=set)
    """Rows to which nothing is carried from then on."""
    acknowledged: int = 0
    errors: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.random = random.Random(self.number)
        self.over = threading.Event()

    def __hash__(self) -> int:
        return self.number

    def run(self) -> None:
        try:
            with self.connect() as self.session:
                count = 0
                while not self.over.wait(0.003):
                    count += 1
                    self.act(self, count)
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.errors.append(error)

    def mine(self, low: int, high: int) -> int:
        """One of this client's keys between these, the latter included."""
        keys = [key for key in range(low, high + 1) if key % CLIENTS == self.number]
        return self.random.choice(keys)

    def new(self, count: int) -> int:
        """A key that nobody has used."""
        return 100_000 * (self.number + 1) + count

    def sends(self, query: str, *values: object) -> int:
        """Rows that were written and acknowledged."""
        written = max(0, self.session.execute(query.encode(), values).rowcount)
        self.acknowledged += written
        return written

    def is_there(self, table: str, key: int) -> bool:
        return self.rows.get((table, key), {}) is not None

    def wrote(self, table: str, key: int, **values: object) -> None:
        if (table, key) not in self.frozen:
            self.rows[table, key] = {**(self.rows.get((table, key)) or {}), **values}

    def deleted(self, table: str, key: int) -> None:
        if (table, key) not in self.frozen:
            self.rows[table, key] = None

    def tells(self, table: str, key: int) -> None:
        self.told.add((table, key))

    def parks(self, table: str, key: int) -> None:
        self.told.add((table, key))
        self.frozen.add((table, key))


@dataclass(frozen=True)
class Scenario:
    """One migration, and an application that writes on after it."""

    setup: str
    up: str
    act: Callable[[Client, int], None]
    tables: tuple[str, ...]
    """Of the old schema, `name: columns`; the first column is the key."""
    published: str
    orphans: bool = False
    """Whether rows without a parent are to be expected: then they are told."""


def query_of(table: str) -> tuple[str, str]:
    name, _, columns = table.partition(":")
    return name, f"SELECT {columns} FROM {name}"


def read(server: RealServer, database: str, table: str) -> dict[int, Row]:
    _, query = query_of(table)
    with server.connect(database) as session:
        found = session.execute(query.encode())
        names = [column.name for column in found.description or ()]
        return {int(str(row[0])): dict(zip(names, row, strict=True)) for row in found.fetchall()}


def expected(table: str, reference: dict[int, Row], clients: list[Client]) -> dict[int, Row]:
    """The untouched rows as they were before the migration, and over them what was acknowledged."""
    made = dict(reference)
    name, _ = query_of(table)
    columns = next(iter(reference.values())).keys()
    for client in clients:
        for (of, key), row in client.rows.items():
            if of != name:
                continue
            if row is None:
                made.pop(key, None)
            else:
                made[key] = {**made.get(key, dict.fromkeys(columns)), **row, next(iter(columns)): key}
    return made


def carried_through(w: World, scenario: Scenario, seconds: float = 0.8) -> list[Client]:
    """The clients write while the log is carried over, in several processes one after the other."""
    clients = [Client(lambda: w.server.connect(w.live), number, scenario.act) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for _ in range(2):
        threading.Event().wait(seconds / 2)
        w.replay()
    for client in clients:
        client.over.set()
        client.join(20)
    assert [error for client in clients for error in client.errors] == []
    return clients


def holds(w: World, scenario: Scenario, clients: list[Client]) -> None:
    fates = w.replay()
    acknowledged = sum(client.acknowledged for client in clients)
    assert acknowledged > 40, "nobody wrote"
    assert fates.total == acknowledged, "every write has exactly one fate"
    assert min(fates.carried, fates.archived, fates.parked, fates.listed) >= 0, fates
    for table in scenario.tables:
        reference = read(w.server, w.before, table)
        wanted, found = expected(table, reference, clients), read(w.server, w.target, table)
        wrong = {k: (wanted.get(k), found.get(k)) for k in wanted | found if wanted.get(k) != found.get(k)}
        assert wrong == {}, table
    with open_session(w.server.layout.conninfo(w.target), "backout/test/1") as session:
        told = {(e.relation, e.key) for e in parked.entries(session, INCIDENT) if e.fate is Fate.PARKED}
    parks = {(f"public.{table}", (str(key),)) for client in clients for table, key in client.told}
    assert parks <= told, "whatever needs a person is on the list"
    assert bool(fates.parked) is bool(told)
    if not scenario.orphans:
        assert w.orphans() == ()


def m1(client: Client, count: int) -> None:
    dice, row = client.random.random(), client.mine(1, 200)
    if dice < 0.25 and client.is_there("users", row):
        client.sends("UPDATE users SET name = %s WHERE id = %s", f"n{count}", row)
        client.wrote("users", row, name=f"n{count}")
    elif dice < 0.45 and client.is_there("users", row):
        client.sends("UPDATE users SET balance = %s WHERE id = %s", 1000 + count, row)
        client.wrote("users", row, balance=1000 + count)
    elif dice < 0.55 and client.is_there("users", row):
        client.sends("UPDATE users SET motto = %s WHERE id = %s", f"new motto {count}", row)  # the new column
    elif dice < 0.6:
        if client.sends("DELETE FROM users WHERE id = %s", row):
            client.deleted("users", row)
    elif dice < 0.75:
        client.sends("INSERT INTO users (id, name, balance) VALUES (%s, 'x', 1)", client.new(count))
        client.wrote("users", client.new(count), name="x", balance=1)
    elif dice < 0.85:
        key = client.mine(1, 50)  # the migration had deleted it
        client.parks("notes", key)
        query = "INSERT INTO notes VALUES (%s, 'again') ON CONFLICT (id) DO UPDATE SET body = 'and again'"
        client.sends(query, key)
    else:
        key = client.mine(51, 100)
        client.sends("UPDATE notes SET body = %s WHERE id = %s", f"b{count}", key)
        client.wrote("notes", key, body=f"b{count}")


USERS = """
CREATE TABLE users (id int PRIMARY KEY, name text, motto text, balance int NOT NULL DEFAULT 0);
INSERT INTO users SELECT i, 'user ' || i, 'motto ' || i, i FROM generate_series(1, 200) i;
CREATE TABLE notes (id int PRIMARY KEY, body text);
INSERT INTO notes SELECT i, 'note ' || i FROM generate_series(1, 100) i;
"""
PRICES = """
CREATE TABLE prices (id int PRIMARY KEY, amount numeric(10, 2), label text);
INSERT INTO prices SELECT i, i + 0.37, 'p' || i FROM generate_series(1, 200) i;
"""


def m4(client: Client, count: int) -> None:
    key = client.mine(1, 200)
    if client.random.random() < 0.5:
        client.sends("UPDATE prices SET label = %s WHERE id = %s", f"l{count}", key)
        client.wrote("prices", key, label=f"l{count}")
    elif client.random.random() < 0.5:
        client.sends("UPDATE prices SET amount = %s WHERE id = %s", 5000 + count, key)
        client.tells("prices", key)  # no value of the new type is read as one of the old
    else:
        client.sends("INSERT INTO prices VALUES (%s, %s, 'new')", client.new(count), count)
        client.parks("prices", client.new(count))


ORDERS = """
CREATE TYPE state AS ENUM ('open', 'paid');
CREATE TABLE orders (id int PRIMARY KEY, title text, at state NOT NULL DEFAULT 'open');
INSERT INTO orders SELECT i, 'o' || i, 'open' FROM generate_series(1, 200) i;
"""


def m5(client: Client, count: int) -> None:
    key, dice = client.mine(1, 200), client.random.random()
    if dice < 0.5:
        client.sends("UPDATE orders SET heading = %s WHERE id = %s", f"h{count}", key)
        client.wrote("orders", key, title=f"h{count}")
    elif dice < 0.7:
        client.sends("UPDATE orders SET at = 'paid' WHERE id = %s", key)
        client.wrote("orders", key, at="paid")
    elif dice < 0.8:
        key = client.new(count)
        client.sends("INSERT INTO orders VALUES (%s, 'x', 'void')", key)  # no label of the old schema
        client.parks("orders", key)
        client.sends("UPDATE orders SET heading = 'y' WHERE id = %s", key)
    else:
        client.sends("INSERT INTO orders VALUES (%s, 'x', 'paid')", client.new(count))
        client.wrote("orders", client.new(count), title="x", at="paid")


def m6(client: Client, count: int) -> None:
    key, dice = client.mine(1, 200), client.random.random()
    if dice < 0.3:
        client.sends("INSERT INTO plans VALUES (%s, 'p')", client.new(count))
    elif dice < 0.4:
        client.sends("UPDATE plans SET name = %s WHERE id = %s", f"q{count}", client.mine(1, 8))
    elif dice < 0.7:
        client.sends("UPDATE users SET balance = %s, plan = 1 WHERE id = %s", 7000 + count, key)
        client.wrote("users", key, balance=7000 + count)
    else:
        client.sends("INSERT INTO users (id, name, plan) VALUES (%s, 'x', 2)", client.new(count))
        client.wrote("users", client.new(count), name="x", balance=0)


TAGS = """
CREATE TABLE labels (id serial PRIMARY KEY, name text);
INSERT INTO labels (name) SELECT 'l' || i FROM generate_series(1, 60) i;
CREATE TABLE tags (id int PRIMARY KEY, label int REFERENCES labels, body text);
INSERT INTO tags SELECT i, 1 + i % 60, 't' FROM generate_series(1, 100) i;
"""


def m7(client: Client, count: int) -> None:
    label, tag = client.new(count), client.new(count)
    client.sends("INSERT INTO labels VALUES (%s, 'x')", label)
    client.wrote("labels", label, name="x")
    client.sends("INSERT INTO tags VALUES (%s, %s, 'y')", tag, label)
    client.wrote("tags", tag, label=label, body="y")
    if count % 3 == 0:
        client.sends("DELETE FROM tags WHERE id = %s", tag)
        client.deleted("tags", tag)


def numbers_again(client: Client, count: int) -> None:
    """After RESTART IDENTITY the application gets numbers of rows that are to come back."""
    row = client.session.execute("INSERT INTO labels (name) VALUES ('again') RETURNING id").fetchone()
    assert row is not None
    client.acknowledged += 1
    if row[0] <= 60:
        client.parks("labels", row[0])
    else:
        client.wrote("labels", row[0], name="again")
    if count % 4 == 0:
        client.sends("UPDATE labels SET name = 'twice' WHERE id = %s", row[0])
        client.wrote("labels", row[0], name="twice")


COUNTED = """
CREATE TABLE counted (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int,
                      twice int GENERATED ALWAYS AS (a * 2) STORED, b text);
INSERT INTO counted (a, b) SELECT i, 'b' || i FROM generate_series(1, 200) i;
"""


def generated(client: Client, count: int) -> None:
    if client.random.random() < 0.5:
        key = client.mine(1, 200)
        client.sends("UPDATE counted SET a = %s WHERE id = %s", count + 500, key)
        client.wrote("counted", key, a=count + 500, twice=2 * (count + 500))
    else:
        row = client.session.execute(
            "INSERT INTO counted (a, b) VALUES (%s, 'n') RETURNING id", (count,)
        ).fetchone()
        assert row is not None
        client.acknowledged += 1
        client.wrote("counted", row[0], a=count, twice=2 * count, b="n")


PARTS = """
CREATE TABLE events (id int PRIMARY KEY, v int, w text) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (100);
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (100) TO (100000000);
INSERT INTO events SELECT i, i, 'w' FROM generate_series(1, 200) i;
"""


def partitioned(client: Client, count: int) -> None:
    key = client.mine(1, 200)
    if client.random.random() < 0.6:
        client.sends("UPDATE events SET w = %s WHERE id = %s", f"w{count}", key)
        client.wrote("events", key, w=f"w{count}")
    else:
        client.sends("INSERT INTO events VALUES (%s, 1, 'x')", client.new(count))
        client.wrote("events", client.new(count), v=1, w="x")


SEATS = """
CREATE TABLE seats (id int PRIMARY KEY, place int UNIQUE, color text DEFAULT 'red');
INSERT INTO seats SELECT i, i FROM generate_series(1, 200) i;
"""


def swaps(client: Client, count: int) -> None:
    """Two rows exchange a unique value in one transaction."""
    one = client.mine(1, 200)
    other = client.mine(1, 200)
    if one == other:
        return
    with client.session.transaction():
        places: dict[int, int] = dict(
            client.session.execute(
                "SELECT id, place FROM seats WHERE id IN (%s, %s)", (one, other)
            ).fetchall()
        )
        for key, place in ((one, -one), (other, places[one]), (one, places[other])):
            client.sends("UPDATE seats SET place = %s WHERE id = %s", place, key)
    client.wrote("seats", one, place=places[other])
    client.wrote("seats", other, place=places[one])


def saves(client: Client, count: int) -> None:
    """As an object mapper does: read a row, change one attribute, write them all."""
    key = client.mine(1, 200)
    row = client.session.execute("SELECT name, balance FROM users WHERE id = %s", (key,)).fetchone()
    assert row is not None
    name, balance = row
    if client.random.random() < 0.5:
        name = f"saved {count}"
        client.wrote("users", key, name=name)
    else:
        balance = 9000 + count
        client.wrote("users", key, balance=balance)
    client.sends("UPDATE users SET id = id, name = %s, balance = %s WHERE id = %s", name, balance, key)


FAMILY = """
CREATE TABLE parents (id int PRIMARY KEY, name text);
INSERT INTO parents SELECT i, 'p' FROM generate_series(1, 100) i;
CREATE TABLE children (id int PRIMARY KEY, parent int NOT NULL REFERENCES parents, name text);
INSERT INTO children SELECT i, i, 'c' FROM generate_series(1, 100) i;
"""


def families(client: Client, count: int) -> None:
    """Children of a row that the migration had made, and of others."""
    parent = 900 if client.random.random() < 0.3 else client.mine(1, 100)
    key = client.new(count)
    client.sends("INSERT INTO children VALUES (%s, %s, 'n')", key, parent)
    if parent == 900:
        client.parks("children", key)
    else:
        client.wrote("children", key, parent=parent, name="n")
    if count % 5 == 0:
        client.sends("UPDATE children SET name = 'm' WHERE id = %s", key)
        client.wrote("children", key, name="m")


def moves(client: Client, count: int) -> None:
    """Rows get another key: one that the migration had freed, or a new one."""
    key, dice = client.mine(101, 200), client.random.random()
    if not client.is_there("notes", key):
        return
    if dice < 0.3:
        freed = client.mine(1, 100)
        with suppress(psycopg.errors.UniqueViolation):
            if client.sends("UPDATE notes SET id = %s WHERE id = %s", freed, key):
                client.parks("notes", freed)
                client.frozen.add(("notes", key))
                client.sends("UPDATE notes SET body = 'moved' WHERE id = %s", freed)
    elif dice < 0.5 and ("notes", key) not in client.frozen:
        client.sends("UPDATE notes SET id = %s, body = 'far' WHERE id = %s", client.new(count), key)
        client.deleted("notes", key)
        client.wrote("notes", client.new(count), body="far")
    elif client.sends("UPDATE notes SET body = %s WHERE id = %s", f"b{count}", key):
        client.wrote("notes", key, body=f"b{count}")


MANY = "INSERT INTO notes SELECT i, 'note ' || i FROM generate_series(101, 200) i;"
LOG = "CREATE TABLE log (at int, said text); INSERT INTO log SELECT i, 's' FROM generate_series(1, 20) i;"


def keyless(client: Client, count: int) -> None:
    client.sends("INSERT INTO log VALUES (%s, 'new')", client.new(count))
    client.wrote("log", client.new(count), said="new")
    client.sends("UPDATE users SET balance = %s WHERE id = %s", count, key := client.mine(1, 200))
    client.wrote("users", key, balance=count)


def savers(client: Client, count: int) -> None:
    key = client.mine(1, 200)
    client.sends("UPDATE users SET name = %s WHERE id = %s", f"n{count}", key)
    client.wrote("users", key, name=f"n{count}")


ALL_USERS = "users: id, name, motto, balance"
SCENARIOS = {
    "drop and add a column, delete, update": Scenario(
        USERS,
        "ALTER TABLE users DROP motto; ALTER TABLE users ADD motto text; DELETE FROM notes WHERE id <= 50;"
        "UPDATE users SET balance = 0 WHERE id <= 100",
        m1,
        (ALL_USERS, "notes: id, body"),
        "TABLE users, notes",
    ),
    "round a number": Scenario(
        PRICES,
        "ALTER TABLE prices ALTER amount TYPE int USING round(amount)",
        m4,
        ("prices: id, amount, label",),
        "TABLE prices",
    ),
    "round a number, old rows whole": Scenario(
        PRICES + "ALTER TABLE prices REPLICA IDENTITY FULL",
        "ALTER TABLE prices ALTER amount TYPE int USING round(amount)",
        m4,
        ("prices: id, amount, label",),
        "TABLE prices",
    ),
    "rename, and a new label": Scenario(
        ORDERS,
        "ALTER TABLE orders RENAME title TO heading; ALTER TYPE state ADD VALUE 'void'",
        m5,
        ("orders: id, title, at::text",),
        "TABLE orders",
    ),
    "a new table, and every row": Scenario(
        USERS,
        "CREATE TABLE plans (id int PRIMARY KEY, name text);"
        "INSERT INTO plans SELECT i, 'plan' FROM generate_series(1, 8) i;"
        "ALTER TABLE users ADD plan int REFERENCES plans; UPDATE users SET plan = 1, balance = balance + 1",
        m6,
        (ALL_USERS,),
        "TABLES IN SCHEMA public",
    ),
    "truncate": Scenario(
        TAGS,
        "TRUNCATE labels, tags",
        m7,
        ("labels: id, name", "tags: id, label, body"),
        "TABLE labels, tags",
    ),
    "truncate, numbers from the beginning": Scenario(
        TAGS,
        "TRUNCATE labels, tags RESTART IDENTITY",
        numbers_again,
        ("labels: id, name", "tags: id, label, body"),
        "TABLE labels, tags",
    ),
    "identity and generated columns": Scenario(
        COUNTED,
        "UPDATE counted SET a = 0 WHERE id <= 50",
        generated,
        ("counted: id, a, twice, b",),
        "TABLE counted",
    ),
    "partitions": Scenario(
        PARTS,
        "UPDATE events SET v = 0; DELETE FROM events WHERE id > 1000",
        partitioned,
        ("events: id, v, w",),
        f"TABLE events{ROOTS}",
    ),
    "a table without a key": Scenario(
        USERS + LOG,
        "UPDATE users SET balance = 0 WHERE id <= 100; INSERT INTO log VALUES (-1, 'made')",
        keyless,
        (ALL_USERS, "log: at, said"),
        "TABLE users, log",
    ),
    "unique values exchanged": Scenario(
        SEATS,
        "ALTER TABLE seats DROP color",
        swaps,
        ("seats: id, place, color",),
        "TABLE seats",
    ),
    "whole rows saved": Scenario(
        USERS,
        "UPDATE users SET balance = 0 WHERE id <= 100; ALTER TABLE users DROP motto",
        saves,
        (ALL_USERS,),
        "TABLE users",
    ),
    "savepoints": Scenario(
        USERS,
        "SAVEPOINT a; UPDATE users SET balance = 1; RELEASE a;"
        "SAVEPOINT b; UPDATE users SET name = 'no'; ROLLBACK TO b; DELETE FROM users WHERE id > 200",
        savers,
        (ALL_USERS,),
        "TABLE users",
    ),
    "children of a row that the migration made": Scenario(
        FAMILY,
        "INSERT INTO parents VALUES (900, 'made'); UPDATE parents SET name = 'q'",
        families,
        ("parents: id, name", "children: id, parent, name"),
        "TABLE parents, children",
    ),
    "keys changed to freed ones": Scenario(
        USERS + MANY,
        "DELETE FROM notes WHERE id <= 100; UPDATE notes SET body = 'gone'",
        moves,
        ("notes: id, body",),
        "TABLE notes",
    ),
    "a table dropped": Scenario(
        USERS + "CREATE TABLE old (id int PRIMARY KEY, body text); INSERT INTO old VALUES (1, 'o'), (2, 'p')",
        "DROP TABLE old; UPDATE users SET balance = 0",
        savers,
        (ALL_USERS, "old: id, body"),
        "TABLE users",
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.proves(
    claim="Writes are carried from the log through sixteen kinds of migrations",
    on="one machine, loopback",
    rights="superuser",
    versions="16, 18",
    size="4 writers, some hundred rows a kind",
)
def test_every_row_of_the_old_schema_is_what_was_acknowledged(logical: RealServer, tmp_path, name: str):
    scenario = SCENARIOS[name]
    with world(logical, tmp_path, scenario.setup, scenario.up, scenario.published) as w:
        holds(w, scenario, carried_through(w, scenario))
