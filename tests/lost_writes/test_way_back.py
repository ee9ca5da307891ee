"""Back to the migrated side: every write made on the new side is there once, or told; what the migration did
stays as it is."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backout.errors import BackoutError
from backout.model.fates import Fate, Fates, Reason
from backout.postgres.writes.follow import Limits
from backout.testing.servers import RealServer, available_majors, start_server, stop_server
from tests.lost_writes.back_world import World, world

pytestmark = pytest.mark.slow

_LOGICAL = {"wal_level": "logical", "fsync": "on", "max_wal_senders": "20", "max_replication_slots": "20"}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=[16, 18], ids=["pg16", "pg18"])
def logical(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    if request.param not in available_majors():
        pytest.skip(f"PostgreSQL {request.param} is not on this machine")
    server = start_server(request.param, settings=_LOGICAL)
    yield server
    stop_server(server)


@pytest.fixture(params=[True, False], ids=["full", "default"])
def full(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


SETUP = """
CREATE TABLE users (id int PRIMARY KEY, name text, motto text, balance int NOT NULL DEFAULT 0);
INSERT INTO users SELECT i, 'user ' || i, CASE WHEN i < 100 THEN 'motto ' || i END, i
  FROM generate_series(1, 200) i;
CREATE TABLE notes (id int PRIMARY KEY, body text);
INSERT INTO notes SELECT i, 'note ' || i FROM generate_series(1, 100) i;
CREATE TABLE gone (id int PRIMARY KEY, body text); INSERT INTO gone VALUES (1, 'one');
CREATE TABLE log (at int, line text);
"""
UP = """
ALTER TABLE users DROP COLUMN motto; ALTER TABLE users RENAME name TO full_name;
ALTER TABLE users ADD COLUMN plan text DEFAULT 'free';
UPDATE users SET plan = 'gold', balance = 0 WHERE id <= 50;
DELETE FROM notes WHERE id <= 50; INSERT INTO notes VALUES (900, 'made by the migration');
DROP TABLE gone; CREATE TABLE plans (id int PRIMARY KEY, name text);
"""
USER = "SELECT full_name, balance, plan FROM users WHERE id = "


def test_writes_go_back_translated(logical, tmp_path, full):
    with world(logical, tmp_path, SETUP, UP, full=full) as w:
        w.write(
            "UPDATE users SET name = 'changed' WHERE id = 150",
            "INSERT INTO users VALUES (300, 'new', 'a motto', 5), (301, 'plain', NULL, 6)",
            "DELETE FROM users WHERE id = 160",
            "UPDATE users SET id = 1170, balance = 7 WHERE id = 170",
            "UPDATE notes SET body = 'edited' WHERE id = 60",
        )
        assert w.back() == Fates(carried=5, archived=1)
        assert w.on_old(USER + "150") == [("changed", 150, "free")]
        assert w.on_old(USER + "300") == [("new", 5, "free")], "the added column has its default"
        assert w.on_old(USER + "301") == [("plain", 6, "free")]
        assert w.on_old(USER + "1170") == [("user 170", 7, "free")]
        assert w.on_old("SELECT count(*) FROM users WHERE id IN (160, 170)") == [(0,)]
        assert w.on_old("SELECT body FROM notes WHERE id = 60") == [("edited",)]
        assert w.on_old("SELECT body FROM notes WHERE id = 900") == [("made by the migration",)]
        (entry,) = w.entries()
        assert (entry.relation, entry.key, entry.columns) == ("public.users", ("300",), ("motto",))
        assert (entry.fate, entry.reason) == (Fate.ARCHIVED, Reason.NO_PLACE_BACK)
        assert entry.now == {"id": "300", "name": "new", "motto": "a motto", "balance": "5"}


def test_with_full_images_an_update_carries_what_the_application_changed_and_nothing_else(logical, tmp_path):
    with world(logical, tmp_path, SETUP, UP) as w:
        w.write("UPDATE users SET name = 'x' WHERE id = 5", "UPDATE users SET motto = NULL WHERE id = 6")
        assert w.back() == Fates(carried=1, archived=1)
        assert w.on_old(USER + "5") == [("x", 0, "gold")], "what the migration stored stays"
        assert w.on_old(USER + "6") == [("user 6", 0, "gold")]


def test_a_row_that_the_migration_deleted_is_stored_when_it_was_written_since(logical, tmp_path, full):
    with world(logical, tmp_path, SETUP, UP, full=full) as w:
        w.write(
            "UPDATE notes SET body = 'kept' WHERE id = 7",
            "DELETE FROM notes WHERE id = 8",
            "UPDATE notes SET id = 1009 WHERE id = 9",
            "UPDATE notes SET body = 'kept twice' WHERE id = 7",
            "UPDATE notes SET body = 'moved' WHERE id = 1009",
        )
        assert w.back() == Fates(carried=5)
        found = w.on_old("SELECT id, body FROM notes WHERE id <= 50 OR id BETWEEN 1000 AND 2000 ORDER BY 1")
        assert found == [(7, "kept twice"), (1009, "moved")]


LONG = """
CREATE TABLE docs (id int PRIMARY KEY, body text, n int);
ALTER TABLE docs ALTER body SET STORAGE EXTERNAL;
INSERT INTO docs SELECT i, repeat('x', 5000) || i, i FROM generate_series(1, 20) i;
"""


def test_values_left_in_toast_are_left_alone_and_a_row_with_gaps_is_not_stored(logical, tmp_path, full):
    up = "UPDATE docs SET body = 'short' WHERE id = 3; DELETE FROM docs WHERE id = 4;"
    with world(logical, tmp_path, LONG, up, full=full) as w:
        w.write("UPDATE docs SET n = 50 WHERE id IN (3, 5)", "UPDATE docs SET n = 40 WHERE id = 4")
        fates = w.back()
        assert w.on_old("SELECT length(body), n FROM docs WHERE id IN (3, 5) ORDER BY id") == [
            (5, 50),
            (5001, 50),
        ]
        there = w.on_old("SELECT length(body), n FROM docs WHERE id = 4")
        if full:
            assert (fates, there) == (Fates(carried=3), [(5001, 40)])
            return
        assert (fates, there) == (Fates(carried=2, parked=1), [])
        assert w.told() == {("public.docs", "4", Fate.PARKED, Reason.CANNOT_APPLY)}
        assert w.entries()[0].now == {"id": "4", "n": "40"}


def test_a_column_that_needs_a_value_keeps_new_rows_out_and_lets_updates_in(logical, tmp_path, full):
    up = UP + "ALTER TABLE notes ADD COLUMN kind text NOT NULL DEFAULT 'old';"
    up += "ALTER TABLE notes ALTER kind DROP DEFAULT"
    with world(logical, tmp_path, SETUP, up, full=full) as w:
        w.write(
            "UPDATE notes SET body = 'edited' WHERE id = 60",
            "INSERT INTO notes VALUES (500, 'no kind')",
            "UPDATE notes SET body = 'deleted by the migration' WHERE id = 5",
            "UPDATE notes SET body = 'again' WHERE id = 500",
        )
        assert w.back() == Fates(carried=1, parked=3)
        assert w.on_old("SELECT body, kind FROM notes WHERE id = 60") == [("edited", "old")]
        assert w.told() == {
            ("public.notes", "500", Fate.PARKED, Reason.NO_DEFAULT),
            ("public.notes", "5", Fate.PARKED, Reason.CANNOT_APPLY),
        }


def test_values_of_another_type_are_read_and_shown_or_parked(logical, tmp_path):
    setup = "CREATE TABLE t (id int PRIMARY KEY, amount text, size int, word varchar(20));"
    setup += "INSERT INTO t SELECT i, 'about ' || i, i, 'w' FROM generate_series(1, 9) i"
    up = "ALTER TABLE t ALTER amount TYPE int USING 0, ALTER size TYPE bigint, ALTER word TYPE varchar(3)"
    with world(logical, tmp_path, setup, up) as w:
        w.write(
            "UPDATE t SET size = 70 WHERE id = 1",
            "UPDATE t SET amount = '12' WHERE id = 2",
            "UPDATE t SET amount = 'a dozen' WHERE id = 3",
            "UPDATE t SET word = 'too long' WHERE id = 4",
            "INSERT INTO t VALUES (10, 'x', 1, 'w')",
            "INSERT INTO t VALUES (11, NULL, 1, 'w')",
        )
        assert w.back() == Fates(carried=2, listed=1, parked=3)
        assert w.on_old("SELECT * FROM t WHERE id IN (1, 2, 3, 4, 10, 11) ORDER BY id") == [
            (1, 0, 70, "w"),
            (2, 12, 2, "w"),
            (3, 0, 3, "w"),
            (4, 0, 4, "w"),
            (11, None, 1, "w"),
        ]
        assert ("public.t", "2", Fate.LISTED, Reason.OTHER_TYPE) in w.told()
        assert ("public.t", "3", Fate.PARKED, Reason.CANNOT_APPLY) in w.told()


def test_tables_without_a_place_or_a_key_and_tables_that_were_emptied(logical, tmp_path, full):
    with world(logical, tmp_path, SETUP, UP, full=full) as w:
        w.write(
            "INSERT INTO gone VALUES (2, 'two')",
            "UPDATE gone SET body = 'uno' WHERE id = 1",
            "INSERT INTO log VALUES (1, 'line')",
            "TRUNCATE notes",
            "INSERT INTO notes VALUES (900, 'free again')",
            "UPDATE notes SET body = 'and ours' WHERE id = 900",
            "TRUNCATE gone",
        )
        assert w.back() == Fates(carried=2, archived=3, parked=1, listed=1)
        assert w.on_old("SELECT * FROM notes") == [(900, "and ours")]
        entries = {(e.relation, e.key[0] if e.relation != "public.log" else ""): e for e in w.entries()}
        assert {place: entry.now for place, entry in entries.items()} == {
            ("public.gone", "1"): {"id": "1", "body": "uno"},
            ("public.gone", "2"): {"id": "2", "body": "two"},
            ("public.gone", "every row"): None,
            ("public.log", ""): {"at": "1", "line": "line"},
            ("public.notes", "every row"): None,
        }
        assert entries["public.log", ""].reason is Reason.NO_KEY
        assert entries["public.notes", "every row"].reason is Reason.TRUNCATED
        assert entries["public.gone", "2"].reason is Reason.NO_PLACE_BACK


def test_a_row_of_the_migration_is_never_taken_for_the_application_s(logical, tmp_path, full):
    """It has the key of a row that the application stored on the new side; a restart does not forget it."""
    with world(logical, tmp_path, SETUP, UP, full=full) as w:
        w.write(
            "INSERT INTO notes VALUES (900, 'ours'), (901, 'next')",
            "UPDATE notes SET body = 'still ours' WHERE id = 900",
        )
        assert w.back() == Fates(carried=1, parked=2)
        w.write(
            "UPDATE notes SET body = 'later' WHERE id = 900",
            "UPDATE notes SET id = 902 WHERE id = 900",
            "UPDATE notes SET id = 900 WHERE id = 901",
            "DELETE FROM notes WHERE id = 900",
        )
        fates = w.back()
        assert fates == Fates(carried=3, parked=4)
        found = w.on_old("SELECT * FROM notes WHERE id >= 900 ORDER BY id")
        assert found == [(900, "made by the migration"), (901, "next"), (902, "later")]


def test_identity_numbers_generated_columns_and_odd_names(logical, tmp_path, full):
    setup = 'CREATE TABLE "O d" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "a""b" text,'
    setup += " twice int GENERATED ALWAYS AS (id * 2) STORED, n int);"
    setup += "CREATE TABLE plain (id int PRIMARY KEY, v text); INSERT INTO plain VALUES (1, 'v'), (2, 'w')"
    up = 'ALTER TABLE "O d" RENAME "a""b" TO c; ALTER TABLE "O d" RENAME TO odd;'
    up += "ALTER TABLE plain ALTER id ADD GENERATED ALWAYS AS IDENTITY (START 100)"
    with world(logical, tmp_path, setup, up, full=full) as w:
        w.write(
            'INSERT INTO "O d" ("a""b", n) VALUES (\'x\', 1), (\'y\', 2)',
            'UPDATE "O d" SET n = 9 WHERE id = 2',
            "UPDATE plain SET v = 'changed' WHERE id = 1",
            "UPDATE plain SET id = 3 WHERE id = 2",
        )
        assert w.back() == Fates(carried=4, parked=1)
        assert w.on_old("SELECT id, c, twice, n FROM odd ORDER BY id") == [(1, "x", 2, 1), (2, "y", 4, 9)]
        assert w.on_old("SELECT * FROM plain ORDER BY id") == [(1, "changed"), (2, "w")]
        assert w.told() == {("public.plain", "3", Fate.PARKED, Reason.FIXED_KEY)}


def test_a_key_that_the_log_does_not_tell_is_not_guessed(logical, tmp_path, full):
    """The migration made another column the key, and dropped the old one."""
    setup = "CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL, v int);"
    setup += "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)"
    up = "ALTER TABLE t DROP COLUMN id; ALTER TABLE t ADD PRIMARY KEY (code)"
    with world(logical, tmp_path, setup, up, full=full) as w:
        w.write("UPDATE t SET v = 10 WHERE id = 1", "UPDATE t SET code = 'c' WHERE id = 2")
        fates = w.back()
        found = w.on_old("SELECT * FROM t ORDER BY v")
        if full:
            assert (fates, found) == (Fates(carried=2), [("c", 2), ("a", 10)])
        else:
            assert (fates, found) == (Fates(parked=2), [("a", 1), ("b", 2)])


def test_partitions_find_their_place(logical, tmp_path, full):
    setup = """CREATE TABLE events (id int, at int, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
      CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (50);
      CREATE TABLE events_2 (v text, at int NOT NULL, id int NOT NULL);
      ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM (50) TO (100);
      CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM (100) TO (150);
      INSERT INTO events SELECT i, i, 'v' FROM generate_series(1, 120) i"""
    up = "ALTER TABLE events RENAME v TO value; ALTER TABLE events DETACH PARTITION events_3"
    with world(logical, tmp_path, setup, up, full=full) as w:
        w.write(
            "UPDATE events SET v = 'new' WHERE id IN (10, 60, 110)",
            "UPDATE events SET at = 70 WHERE id = 20",
            "INSERT INTO events VALUES (500, 80, 'made')",
            "TRUNCATE events_1",
            "INSERT INTO events VALUES (501, 8, 'made')",
        )
        assert w.back() == Fates(carried=7, listed=1)
        found = w.on_old("SELECT id, at, value FROM events WHERE value <> 'v' OR id IN (5, 20) ORDER BY 1")
        assert found == [(20, 70, "v"), (60, 60, "new"), (500, 80, "made"), (501, 8, "made")]
        assert w.on_old("SELECT value FROM events_3 WHERE id = 110") == [("new",)]


def test_a_column_made_since_is_not_taken_for_the_migration_s(logical, tmp_path, full):
    """Both got the same number; only one of them is what the application writes."""
    with world(logical, tmp_path, SETUP, UP, full=full) as w:
        w.write(
            "ALTER TABLE users ADD COLUMN tier text",
            "INSERT INTO users VALUES (300, 'new', NULL, 5, 'high')",
        )
        assert w.back() == Fates(archived=1)
        assert w.on_old(USER + "300") == [("new", 5, "free")]
        assert w.entries()[0].columns == ("tier",)


def test_what_was_replicated_and_what_is_ours_is_not_the_application_s(logical, tmp_path):
    with world(logical, tmp_path, SETUP, UP) as w, w.server.connect(w.new) as session:
        session.execute("SELECT pg_replication_origin_create(current_database())")
        session.execute("SELECT pg_replication_origin_session_setup(current_database())")
        session.execute("INSERT INTO notes VALUES (700, 'replicated')")
        session.execute("SELECT pg_replication_origin_session_reset()")
        with session.transaction():
            marker = '{"kind": "migration", "incident": "inc-back"}'
            session.execute("SELECT pg_logical_emit_message(true, 'backout', %s)", (marker,))
            session.execute("INSERT INTO notes VALUES (701, 'of a migration')")
        session.execute("INSERT INTO notes VALUES (702, 'the application')")
        assert w.back() == Fates(carried=1)
        assert w.on_old("SELECT id FROM notes WHERE id BETWEEN 700 AND 800") == [(702,)]
        session.execute("SELECT pg_replication_origin_drop(current_database())")


def test_what_the_old_side_refuses_is_parked_and_counted_so(logical, tmp_path, full):
    up = UP + "ALTER TABLE users ADD CONSTRAINT short CHECK (length(full_name) < 20)"
    with world(logical, tmp_path, SETUP, up, full=full) as w:
        w.write(
            "INSERT INTO users VALUES (400, repeat('long', 10), 'kept'), (401, 'fine', NULL)",
            "UPDATE users SET name = 'fine now' WHERE id = 400",
            "UPDATE users SET balance = 3 WHERE id = 400",
        )
        fates = w.back()
        assert (fates.total, fates.parked) == (4, 1)
        assert w.on_old("SELECT full_name, balance FROM users WHERE id > 399 ORDER BY id") == [
            ("fine now", 3),
            ("fine", 0),
        ]
        parked = [e for e in w.entries() if e.fate is Fate.PARKED]
        assert [(e.key, e.reason) for e in parked] == [(("400",), Reason.CANNOT_APPLY)]


def test_twice_the_same_is_nothing_twice(logical, tmp_path, full):
    with world(logical, tmp_path, SETUP, UP, full=full) as w:
        w.write("UPDATE users SET balance = balance + 1", "INSERT INTO gone VALUES (5, 'x')", "TRUNCATE log")
        first = w.back()
        before = w.on_old("SELECT * FROM users ORDER BY id"), w.entries()
        assert w.back() == first
        assert (w.on_old("SELECT * FROM users ORDER BY id"), w.entries()) == before


@pytest.mark.parametrize("kills", [6])
def test_eight_writers_and_a_ledger_and_killed_in_the_middle(logical, tmp_path, full, kills):
    """All keys are compared: the reference is what the application was told."""
    with world(logical, tmp_path, SETUP, UP, full=full) as w:
        writers = [_Writer(w, number) for number in range(8)]
        for writer in writers:
            writer.start()
        for number in range(kills):
            _killed(w, 0.4 + 0.15 * number)
        for writer in writers:
            writer.over = True
            writer.join(20)
            assert writer.failed is None
        fates = _once_free(w)
        assert fates.total == sum(writer.acknowledged for writer in writers)
        assert fates.parked == fates.listed == 0
        _compare(w, writers, full=full)
        assert w.back() == fates


def _killed(w: World, seconds: float) -> None:
    command = [sys.executable, "-m", "tests.lost_writes.back_process"]
    environment = {**os.environ, "ROAD": w.as_text()}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        time.sleep(seconds)
        process.kill()


def _once_free(w: World) -> Fates:
    """The server needs a moment to notice that the last reader is dead."""
    for _ in range(50):
        try:
            return w.back(Limits(100, 0.2))
        except BackoutError as error:
            if "is active" not in str(error):
                raise
            time.sleep(0.2)
    raise AssertionError("the slot was not released")


def _compare(w: World, writers: list[_Writer], *, full: bool) -> None:
    names = {k: v for writer in writers for k, v in writer.names.items()}
    balances = {k: v for writer in writers for k, v in writer.balances.items()}
    notes = {k: v for writer in writers for k, v in writer.notes.items()}
    gone = {k for writer in writers for k in writer.gone}
    found = {r[0]: r[1:] for r in w.on_old("SELECT id, full_name, balance, plan FROM users")}
    first = set(range(1, 201))
    assert set(found) == (first | set(names)) - gone
    assert {k: found[k][0] for k in found} == {k: names.get(k, f"user {k}") for k in found}
    # Who knows only the new image carries all of it, the old balance too.
    carried = set() if full else set(names)
    expected = {k: balances.get(k, k if k in carried or int(str(k)) > 50 else 0) for k in found}
    assert {k: found[k][1] for k in found} == expected
    assert all(found[k][2] == ("gold" if int(str(k)) <= 50 else "free") for k in found)
    there = {key: body for key, body in w.on_old("SELECT id, body FROM notes")}
    of_migration = {k: f"note {k}" for k in range(51, 101)} | {900: "made by the migration"}
    assert there == of_migration | notes


class _Writer(threading.Thread):
    """The application: what it was told is kept."""

    def __init__(self, w: World, number: int) -> None:
        super().__init__(daemon=True)
        self._w, self._number = w, number
        self._random = random.Random(number)
        self.names: dict[object, str] = {}
        self.balances: dict[object, int] = {}
        self.notes: dict[object, object] = {}
        self.gone: set[object] = set()
        self.acknowledged = 0
        self.over = False
        self.failed: psycopg.Error | None = None

    def run(self) -> None:
        mine = [i for i in range(1, 201) if i % 8 == self._number]
        try:
            with self._w.server.connect(self._w.new) as session:
                count = 0
                while not self.over:
                    count += 1
                    threading.Event().wait(0.01)
                    self._one(session, self._random.choice(mine), count)
        except psycopg.Error as error:
            self.failed = error

    def _one(self, session: psycopg.Connection, row: int, count: int) -> None:
        dice = self._random.random()
        if dice < 0.02 and row not in self.gone:
            session.execute("DELETE FROM users WHERE id = %s", (row,))
            self.gone.add(row)
        elif dice < 0.3:
            key, name = 1000 + self._number * 100_000 + count, f"new {count}"
            session.execute("INSERT INTO users VALUES (%s, %s, NULL, %s)", (key, name, key))
            self.names[key], self.balances[key] = name, key
        elif dice < 0.5 and row <= 100:
            session.execute("UPDATE notes SET body = %s WHERE id = %s", (f"body {count}", row))
            self.notes[row] = f"body {count}"
        elif row in self.gone:
            return
        elif dice < 0.75:
            session.execute("UPDATE users SET name = %s WHERE id = %s", (f"name {count}", row))
            self.names[row] = f"name {count}"
        else:
            value = 1 + self._random.randrange(10**6)
            session.execute("UPDATE users SET balance = %s WHERE id = %s", (value, row))
            self.balances[row] = value
        self.acknowledged += 1
