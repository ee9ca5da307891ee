"""The log as the source: every write since the migration is on the old state once, or told; nothing of the
migration is."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from backout.model.changes import Change, lsn_of
from backout.model.fates import Fate, Fates, Reason
from backout.phases.lost_writes.from_log import FromLog, States
from backout.phases.lost_writes.log_map import log_tables, unseen
from backout.postgres import parked
from backout.postgres.catalog import read_schema
from backout.postgres.connect import open_session
from backout.postgres.decoding.recognise import Signs
from backout.postgres.decoding.stream import Source, Stream
from backout.postgres.decoding.transactions import End
from backout.postgres.repair import rights
from backout.postgres.writes import memory, tables
from backout.postgres.writes.apply import Applier, open_target
from backout.postgres.writes.follow import Limits, follow
from backout.postgres.writes.parking import Parking, Rejection
from backout.testing.servers import RealServer, available_majors, start_server, stop_server
from tests import slots
from tests.loss.databases import clone, run

pytestmark = pytest.mark.slow

RUN = INCIDENT = "inc-log"
_LOGICAL = {"wal_level": "logical", "fsync": "on", "max_wal_senders": "20", "max_replication_slots": "20"}


@pytest.fixture(scope="module", params=[16, 18], ids=["pg16", "pg18"])
def logical(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    if request.param not in available_majors():
        pytest.skip(f"PostgreSQL {request.param} is not on this machine")
    server = start_server(request.param, settings=_LOGICAL)
    yield server
    stop_server(server)


@dataclass
class World:
    """Production after the migration, the two restored states, and the target that becomes the new one."""

    server: RealServer
    live: str
    before: str
    migrated: str
    target: str
    start: int
    xid: int
    directory: Path
    publications: tuple[str, ...] = ("backout_r",)

    def write(self, *statements: str) -> None:
        """The application, each statement its own transaction."""
        with self.server.connect(self.live) as session:
            for statement in statements:
                session.execute(statement.encode())

    def on_target(self, query: str) -> list[tuple[object, ...]]:
        with self.server.connect(self.target) as session:
            return session.execute(query.encode()).fetchall()

    def entries(self) -> tuple[parked.Entry, ...]:
        """The work list of people."""
        with open_session(self.server.layout.conninfo(self.target), "backout/test/1") as session:
            return parked.entries(session, INCIDENT)

    def told(self) -> dict[tuple[str, str], tuple[Fate, Reason]]:
        return {(e.relation, ", ".join(e.key)): (e.fate, e.reason) for e in self.entries()}

    def replay(self) -> Fates:
        """Everything up to now, through a process that knows nothing but what is durable."""
        dsn = self.server.layout.conninfo(self.target)
        with self.server.connect(self.live) as session:
            row = session.execute(
                "SELECT pg_logical_emit_message(true, 'backout', '{\"kind\": \"end\"}')::text"
            )
            end = lsn_of(str(row.fetchone()[0]))  # type: ignore[index]
        with ExitStack() as stack:
            admin = stack.enter_context(open_session(dsn, "backout/test/2"))
            states = States(
                *(stack.enter_context(self._state(name)) for name in (self.before, self.migrated))
            )
            progress = tables.take_over(admin, RUN)
            mapped = log_tables(read_schema(states.before), read_schema(states.migrated))
            signs = Signs(xids=frozenset({self.xid}))
            translation = FromLog(RUN, INCIDENT, mapped, states, signs, memory.load(admin, RUN))
            target = open_target(dsn, "backout/test/3")
            parking = Parking(target.session, RUN, INCIDENT, name=translation.named)

            def park(change: Change, why: Rejection) -> None:
                parking(change, why)
                memory.recount(target.session, RUN, translation.fate(change))

            source = Source(
                self.server.dsn(self.live),
                f"backout_{self.live}",
                self.publications,
                progress.lsn,
                "backout/x/1",
            )
            stream = stack.enter_context(Stream(source))
            applier = Applier(target.session, progress, translation, park, alive=stream.tend)
            stack.callback(applier.close)
            follow(stream, applier, End(lsn=end), self.directory, limits=Limits(50, 0.2))
            return memory.fates(admin, RUN)

    def orphans(self) -> tuple[str, ...]:
        """Foreign keys of the target that some row breaks."""
        with ExitStack() as stack:
            before, migrated, target = (
                stack.enter_context(self._state(name)) for name in (self.before, self.migrated, self.target)
            )
            mapped = log_tables(read_schema(before), read_schema(migrated)).values()
            found = dict.fromkeys(line for one in mapped for line in rights.orphans(target, one.target))
        return tuple(found)

    def _state(self, name: str):
        return open_session(self.server.layout.conninfo(name), "backout/test/4")


@contextmanager
def world(
    server: RealServer, directory: Path, setup: str, up: str, published: str, *, full: str = ""
) -> Iterator[World]:
    with server.database() as live, ExitStack() as stack:
        run(server, live, setup)
        before = stack.enter_context(clone(server, live, "SELECT"))
        target = stack.enter_context(clone(server, live, "SELECT"))
        slot = f"backout_{live}"
        with server.connect(live) as session:
            session.execute(f"CREATE PUBLICATION backout_r FOR {published}".encode())
            made = session.execute(
                "SELECT lsn::text FROM pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,)
            ).fetchone()
            assert made is not None
            with session.transaction():
                session.execute(up.encode())
                row = session.execute("SELECT pg_current_xact_id()::text").fetchone()
                assert row is not None
        migrated = stack.enter_context(clone(server, live, "SELECT"))  # a twin: whatever it made has its oid
        with open_session(server.layout.conninfo(target), "backout/test/0") as admin:
            tables.make_tables(admin)
            memory.make_tables(admin)
            tables.begin_run(admin, RUN, lsn_of(made[0]))
        try:
            yield World(server, live, before, migrated, target, lsn_of(made[0]), int(row[0]), directory)
        finally:
            with server.connect(live) as session:
                slots.drop(session, slot)


SETUP = """
CREATE TABLE users (id int PRIMARY KEY, name text, motto text, balance int NOT NULL DEFAULT 0);
INSERT INTO users SELECT i, 'user ' || i, 'motto ' || i, i FROM generate_series(1, 200) i;
CREATE TABLE notes (id int PRIMARY KEY, body text);
INSERT INTO notes SELECT i, 'note ' || i FROM generate_series(1, 100) i;
"""
UP = """
ALTER TABLE users DROP COLUMN motto; ALTER TABLE users RENAME name TO full_name;
ALTER TABLE users ADD COLUMN plan text DEFAULT 'free';
UPDATE users SET balance = 0 WHERE id <= 100;
DELETE FROM notes WHERE id <= 50; INSERT INTO notes VALUES (900, 'made by the migration');
CREATE TABLE plans (id int PRIMARY KEY, name text);
"""


def test_writes_go_over_translated_and_the_migration_stays_behind(logical, tmp_path):
    with world(logical, tmp_path, SETUP, UP, "TABLE users, notes") as w:
        w.write(
            "UPDATE users SET full_name = 'changed' WHERE id = 150",
            "INSERT INTO users (id, full_name, balance, plan) VALUES (300, 'new', 5, 'gold')",
            "DELETE FROM users WHERE id = 160",
            "UPDATE users SET balance = balance + 7 WHERE id = 10",
            "UPDATE notes SET body = 'edited' WHERE id = 60",
            "INSERT INTO notes VALUES (7, 'used again')",
            "UPDATE notes SET body = 'touched' WHERE id = 900",
        )
        fates = w.replay()
        assert fates.total == 7, "every write has exactly one fate"
        assert fates == Fates(carried=2, archived=1, parked=2, listed=2)
        row = w.on_target("SELECT name, motto, balance FROM users WHERE id = 150")
        assert row == [("changed", "motto 150", 150)], "the dropped column is still there"
        assert w.on_target("SELECT name, balance FROM users WHERE id = 300") == [("new", 5)]
        assert w.on_target("SELECT count(*) FROM users WHERE id = 160") == [(0,)]
        assert w.on_target("SELECT balance FROM users WHERE id IN (10, 11) ORDER BY id") == [(7,), (11,)]
        assert w.on_target("SELECT body FROM notes WHERE id IN (7, 60) ORDER BY id") == [
            ("note 7",),
            ("edited",),
        ]
        assert w.on_target("SELECT count(*) FROM notes") == [(100,)], "nothing of the migration is there"
        told = w.told()
        assert told["public.users", "300"] == (Fate.ARCHIVED, Reason.NO_PLACE)
        assert told["public.users", "10"] == (Fate.LISTED, Reason.BOTH_WROTE)
        assert told["public.users", "160"] == (Fate.LISTED, Reason.DELETED_BY_APPLICATION)
        assert told["public.notes", "7"] == (Fate.PARKED, Reason.KEY_REUSED)
        assert told["public.notes", "900"] == (Fate.PARKED, Reason.MIGRATION_ROW_CHANGED)


def test_a_row_whose_columns_the_migration_changed_does_not_carry_them_over(logical, tmp_path):
    """The new image names every column: an update of one must not leak the migrated value of another."""
    with world(logical, tmp_path, SETUP, UP, "TABLE users") as w:
        w.write("UPDATE users SET full_name = 'x' WHERE id = 5")
        fates = w.replay()
        assert w.on_target("SELECT name, balance FROM users WHERE id = 5") == [("x", 5)]
        assert fates == Fates(listed=1), "its balance still holds what the migration stored: shown"


def test_memory_survives_a_new_process(logical, tmp_path):
    """A freed key, a moved row and a parked one mean the same after a restart."""
    with world(logical, tmp_path, SETUP, UP, "TABLE users, notes") as w:
        w.write(
            "DELETE FROM users WHERE id = 20",
            "UPDATE users SET id = 1030 WHERE id = 30",
            "INSERT INTO notes VALUES (8, 'used again')",
        )
        w.replay()
        w.write(
            "INSERT INTO users (id, full_name, balance) VALUES (20, 'reborn', 1)",
            "UPDATE users SET balance = 2 WHERE id = 20",
            "UPDATE users SET full_name = 'moved' WHERE id = 1030",
            "UPDATE notes SET body = 'still parked' WHERE id = 8",
            "DELETE FROM notes WHERE id = 8",
        )
        fates = w.replay()
        assert fates.total == 8
        assert w.on_target("SELECT name, motto, balance FROM users WHERE id = 20") == [("reborn", None, 2)]
        moved = w.on_target("SELECT name, motto, balance FROM users WHERE id = 1030")
        assert moved == [("moved", "motto 30", 30)], "the migration had set its balance to 0"
        assert w.on_target("SELECT body FROM notes WHERE id = 8") == [("note 8",)], "never overlaid"


def test_values_left_in_toast_are_left_alone_and_a_truncation_is_repeated(logical, tmp_path):
    setup = "CREATE TABLE docs (id int PRIMARY KEY, body text, n int);"
    setup += "ALTER TABLE docs ALTER body SET STORAGE EXTERNAL;"
    setup += "INSERT INTO docs SELECT i, repeat('x', 5000) || i, i FROM generate_series(1, 20) i;"
    setup += "CREATE TABLE gone (id int PRIMARY KEY); INSERT INTO gone SELECT generate_series(1, 9)"
    with world(logical, tmp_path, setup, "UPDATE docs SET n = 0 WHERE id < 10", "TABLE docs, gone") as w:
        w.write("UPDATE docs SET n = 5 WHERE id = 3", "TRUNCATE gone", "INSERT INTO gone VALUES (4)")
        fates = w.replay()
        assert w.on_target("SELECT length(body), n FROM docs WHERE id = 3") == [(5001, 5)]
        assert w.on_target("SELECT id FROM gone") == [(4,)]
        assert (fates.total, fates.carried, fates.parked) == (3, 1, 0)


def test_a_table_that_the_migration_made_is_archived_whole(logical, tmp_path):
    with world(logical, tmp_path, SETUP, UP, "TABLES IN SCHEMA public") as w:
        w.write("INSERT INTO plans VALUES (1, 'gold')")
        assert w.replay() == Fates(archived=1)
        assert w.told()["public.plans", "1"] == (Fate.ARCHIVED, Reason.NO_PLACE)


def test_what_the_target_refuses_is_parked_and_counted_so(logical, tmp_path):
    setup = SETUP + "ALTER TABLE users ADD CONSTRAINT short CHECK (length(name) < 20);"
    with world(logical, tmp_path, setup, "ALTER TABLE users DROP CONSTRAINT short", "TABLE users") as w:
        w.write("INSERT INTO users (id, name) VALUES (400, repeat('long', 10)), (401, 'fine')")
        assert w.replay() == Fates(carried=1, parked=1)
        assert w.on_target("SELECT name FROM users WHERE id > 399") == [("fine",)]


def test_a_wider_type_has_the_same_values_as_far_as_they_fit(logical, tmp_path):
    up = "ALTER TABLE users ALTER balance TYPE bigint, ALTER id TYPE bigint"
    with world(logical, tmp_path, SETUP, up, "TABLE users") as w:
        w.write(
            "UPDATE users SET balance = 5000 WHERE id = 5",
            "INSERT INTO users (id, balance) VALUES (500, 6000)",
            "UPDATE users SET balance = 5000000000 WHERE id = 6",
            "INSERT INTO users (id) VALUES (5000000000)",
        )
        assert w.replay() == Fates(carried=2, parked=2)
        found = w.on_target("SELECT balance FROM users WHERE id IN (5, 6, 500) ORDER BY id")
        assert found == [(5000,), (6,), (6000,)]
        refused = (Fate.PARKED, Reason.CANNOT_APPLY)
        assert w.told() == {("public.users", "6"): refused, ("public.users", "5000000000"): refused}


def test_a_refused_row_has_its_old_name_and_is_told_as_the_application_left_it(logical, tmp_path):
    """Whoever takes it from the list later takes the last values, into columns that the old schema has."""
    setup = SETUP + "ALTER TABLE users ADD CONSTRAINT short CHECK (length(name) < 20);"
    setup += "ALTER TABLE users REPLICA IDENTITY FULL;"
    up = "ALTER TABLE users DROP CONSTRAINT short; ALTER TABLE users RENAME name TO label;"
    up += "ALTER TABLE users RENAME TO people"
    with world(logical, tmp_path, setup, up, "TABLE users") as w:
        w.write(
            "INSERT INTO people (id, label, balance) VALUES (400, repeat('long', 10), 1)",
            "UPDATE people SET label = repeat('longer', 10), balance = 2 WHERE id = 400",
        )
        assert w.replay() == Fates(parked=2)
        w.write("UPDATE people SET balance = 3 WHERE id = 400")
        assert w.replay() == Fates(parked=3)
        (entry,) = w.entries()
        assert (entry.relation, entry.key) == ("public.users", ("400",))
        last = {"id": "400", "name": "longer" * 10, "motto": None, "balance": "3"}
        assert entry.now == last


def test_a_parked_row_keeps_what_the_log_leaves_out_later(logical, tmp_path):
    """A later update leaves a large value in TOAST: the log does not tell it, the list must not forget it."""
    setup = "CREATE TABLE docs (id int PRIMARY KEY, body text, n int);"
    setup += "ALTER TABLE docs ALTER body SET STORAGE EXTERNAL"
    with world(logical, tmp_path, setup, "ALTER TABLE docs ALTER n TYPE text", "TABLE docs") as w:
        w.write("INSERT INTO docs VALUES (1, repeat('x', 5000), '5')", "UPDATE docs SET n = '6'")
        assert w.replay() == Fates(parked=2)
        (entry,) = w.entries()
        assert entry.now == {"id": "1", "body": "x" * 5000, "n": "6"}


def test_whatever_is_counted_as_listed_is_on_the_list(logical, tmp_path):
    """Also where it is about the whole row: the values are those that the migration had stored, or taken."""
    with world(logical, tmp_path, SETUP, UP, "TABLE notes") as w:
        w.write("UPDATE notes SET body = body WHERE id = 900", "INSERT INTO notes VALUES (7, 'note 7')")
        assert w.replay() == Fates(listed=2)
        assert w.told() == {
            ("public.notes", "900"): (Fate.LISTED, Reason.COINCIDENT),
            ("public.notes", "7"): (Fate.LISTED, Reason.DELETED_BY_BOTH),
        }


def test_a_row_whose_new_key_means_nothing_in_the_old_form_stays_and_is_parked_whole(logical, tmp_path):
    up = "ALTER TABLE notes ALTER id TYPE text"
    with world(logical, tmp_path, SETUP, up, "TABLE notes") as w:
        w.write(
            "UPDATE notes SET id = 'sixty' WHERE id = '60'",
            "UPDATE notes SET body = 'moved' WHERE id = 'sixty'",
            "DELETE FROM notes WHERE id = '61'",
        )
        assert w.replay() == Fates(carried=1, parked=2)
        assert w.on_target("SELECT id, body FROM notes WHERE id IN (60, 61)") == [(60, "note 60")]
        (entry,) = w.entries()
        assert (entry.key, entry.columns) == (("sixty",), ())
        assert entry.now == {"id": "sixty", "body": "moved"}


def test_a_table_that_was_dropped_and_made_again_is_merged_with_the_old_one(logical, tmp_path):
    up = """CREATE TABLE notes_new (body text, made int DEFAULT 1, id int PRIMARY KEY);
            INSERT INTO notes_new (id, body) SELECT id, upper(body) FROM notes WHERE id > 50;
            DROP TABLE notes; ALTER TABLE notes_new RENAME TO notes"""
    with world(logical, tmp_path, SETUP, up, "TABLES IN SCHEMA public") as w:
        w.write(
            "UPDATE notes SET body = 'edited' WHERE id = 60",
            "INSERT INTO notes (id, body) VALUES (200, 'new')",
            "DELETE FROM notes WHERE id = 70",
        )
        assert w.replay() == Fates(listed=2, archived=1)
        found = w.on_target("SELECT body FROM notes WHERE id IN (7, 60, 61, 70, 200) ORDER BY id")
        assert found == [("note 7",), ("edited",), ("note 61",), ("new",)]


def test_tables_that_the_log_does_not_name_are_told(logical, tmp_path):
    """A guard names its tables when it is armed; what the migration made came later."""
    up = f"{UP}; CREATE TABLE notes_new (id int PRIMARY KEY); DROP TABLE notes;"
    up += "ALTER TABLE notes_new RENAME TO notes"
    with world(logical, tmp_path, SETUP, up, "TABLE users, notes") as w:
        with open_session(logical.layout.conninfo(w.before), "backout/test/1") as session:
            armed = {table.oid for table in read_schema(session).tables}
        with open_session(logical.layout.conninfo(w.migrated), "backout/test/1") as session:
            migrated = read_schema(session)
        assert sorted(unseen(migrated, armed, {"public.plans"})) == ["public.notes"]
        assert sorted(unseen(migrated, armed, frozenset())) == ["public.notes", "public.plans"]


def test_eight_writers_and_a_ledger(logical, tmp_path):
    """All keys are compared, parked ones too: the reference is what the application was told."""
    with world(logical, tmp_path, SETUP, UP, "TABLE users, notes") as w:
        writers = [_Writer(w, number) for number in range(8)]
        for writer in writers:
            writer.start()
        threading.Event().wait(2)
        w.replay()
        for writer in writers:
            writer.over = True
            writer.join(20)
        fates = w.replay()
        assert fates.total == sum(writer.acknowledged for writer in writers)
        assert fates.parked == 0
        names = {k: v for writer in writers for k, v in writer.names.items()}
        balances = {k: v for writer in writers for k, v in writer.balances.items()}
        gone = {k for writer in writers for k in writer.gone}
        found = {int(str(r[0])): r[1:] for r in w.on_target("SELECT id, name, balance, motto FROM users")}
        first = set(range(1, 201))
        assert set(found) == (first | set(names)) - gone
        assert {k: found[k][0] for k in found} == {k: names.get(k, f"user {k}") for k in found}
        # An untouched balance is the old one; a written one is what was written last.
        assert {k: found[k][1] for k in found} == {k: balances.get(k, k) for k in found}
        assert all(found[k][2] == f"motto {k}" for k in found if k <= 200)


class _Writer(threading.Thread):
    def __init__(self, w: World, number: int) -> None:
        super().__init__(daemon=True)
        self._w, self._number = w, number
        self._random = random.Random(number)
        self.names: dict[int, str] = {}
        self.balances: dict[int, int] = {}
        self.gone: set[int] = set()
        self.acknowledged = 0
        self.over = False

    def run(self) -> None:
        mine = [i for i in range(1, 201) if i % 8 == self._number]
        with self._w.server.connect(self._w.live) as session:
            count = 0
            while not self.over:
                count += 1
                threading.Event().wait(0.005)
                self._one(session, self._random.choice(mine), count)

    def _one(self, session: psycopg.Connection, row: int, count: int) -> None:
        dice = self._random.random()
        if dice < 0.02 and row not in self.gone:
            session.execute("DELETE FROM users WHERE id = %s", (row,))
            self.gone.add(row)
        elif dice < 0.3:
            key, name = 1000 + self._number * 100_000 + count, f"new {count}"
            session.execute(
                "INSERT INTO users (id, full_name, balance) VALUES (%s, %s, %s)", (key, name, key)
            )
            self.names[key] = name
        elif row in self.gone:
            return
        elif dice < 0.6:
            name = f"name {count}"
            session.execute("UPDATE users SET full_name = %s WHERE id = %s", (name, row))
            self.names[row] = name
        else:
            value = 1 + self._random.randrange(10**6)
            session.execute("UPDATE users SET balance = %s WHERE id = %s", (value, row))
            self.balances[row] = value
        self.acknowledged += 1
