"""Repair in place while the application writes on: a ledger outside the database decides."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from backout.postgres.repair import attempts
from backout.testing.servers import RealServer
from tests.loss.databases import session_of
from tests.lost_writes.worlds import World, world

ROWS = 4000
SETUP = f"""
CREATE TABLE users (id int PRIMARY KEY, full_name text, points int NOT NULL DEFAULT 0);
INSERT INTO users SELECT i, 'User ' || i, 0 FROM generate_series(1, {ROWS}) i;
"""
UP = """
ALTER TABLE users ADD COLUMN first_name text; UPDATE users SET first_name = split_part(full_name, ' ', 1);
ALTER TABLE users DROP COLUMN full_name; DELETE FROM users WHERE id % 10 = 0"""
DOWN = "ALTER TABLE users DROP COLUMN first_name, ADD COLUMN full_name text"


class Writer(threading.Thread):
    """One writer with rows of its own; its ledger says what was acknowledged last for each of them."""

    def __init__(self, server: RealServer, database: str, number: int, of: int) -> None:
        super().__init__(daemon=True)
        self._connect: Callable[[], psycopg.Connection] = lambda: server.connect(database)
        self._random = random.Random(number)
        self._mine = [i for i in range(1, ROWS + 1) if i % of == number]
        self.points: dict[int, int] = {}
        self.names: dict[int, str] = {}
        self.gone: set[int] = set()
        self.done = threading.Event()

    def run(self) -> None:
        with self._connect() as session:
            while not self.done.is_set():
                self._write(session, self._random.choice(self._mine))

    def _write(self, session: psycopg.Connection, row: int) -> None:
        act = self._random.random()
        if act < 0.02:
            if session.execute("DELETE FROM users WHERE id = %s", (row,)).rowcount:
                self.gone.add(row)
        elif act < 0.12:
            name = f"written {self._random.random()}"
            if session.execute("UPDATE users SET full_name = %s WHERE id = %s", (name, row)).rowcount:
                self.names[row] = name
        else:
            got = session.execute(
                "UPDATE users SET points = points + 1 WHERE id = %s RETURNING points", (row,)
            ).fetchone()
            if got is not None:
                self.points[row] = got[0]


def database_of(w: World) -> str:
    return str(w.live.info.dbname)


@pytest.mark.parametrize("interrupted", [False, True], ids=["whole", "cut off and resumed"])
@pytest.mark.proves(
    claim="The repair loses no write of the application beside it",
    on="one machine, loopback",
    rights="superuser",
    versions="15, 16, 18",
    size="4 writers, 4,000 rows",
)
def test_every_destroyed_value_is_back_and_every_acknowledged_write_stands(server, interrupted):
    with world(server, SETUP, UP, DOWN) as w:
        writers = [Writer(server, database_of(w), number, 4) for number in range(4)]
        for writer in writers:
            writer.start()
        if interrupted:
            _cut_off(server, w)
        told = w.repair(rest=0.5)["public.users"]
        for writer in writers:
            writer.done.set()
            writer.join(30)
        rows = w.rows("SELECT id, full_name, points FROM users")
        live = {int(str(row)): (name, count) for row, name, count in rows}
        points = {k: v for writer in writers for k, v in writer.points.items()}
        names = {k: v for writer in writers for k, v in writer.names.items()}
        gone = {row for writer in writers for row in writer.gone}
        assert len(points) > 100, "nobody wrote"
        assert set(live) == set(range(1, ROWS + 1)) - gone, "no row missing, none resurrected"
        assert {k: live[k][1] for k in live} == {k: points.get(k, 0) for k in live}
        assert {k: live[k][0] for k in live} == {k: names.get(k, f"User {k}") for k in live}
        assert told.fates.parked == 0


def _cut_off(server: RealServer, w: World) -> None:
    """End the session of a repair in the middle; what was done stays done."""
    with session_of(server, database_of(w)) as live:
        attempts.with_search_path_of_role(live)
        first = replace(w, live=live)
        timer = threading.Timer(0.8, _end, (server, live.info.backend_pid))
        timer.start()
        with pytest.raises(psycopg.OperationalError):
            first.repair(rest=20)
        timer.join()


def _end(server: RealServer, pid: int) -> None:
    with server.connect() as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
