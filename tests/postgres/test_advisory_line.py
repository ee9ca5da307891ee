"""Nobody gets the tool's lock between the end of the down and the end of the watch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from backout.postgres import advisory
from backout.postgres.connect import Session, open_session
from backout.testing.servers import RealServer

KEY = 7241865325823964
HOLD = "backout/hold/inc-1"


@pytest.fixture
def dsn(pg: RealServer, database: str) -> str:
    return pg.dsn(database)


@contextmanager
def standing(dsn: str) -> Iterator[None]:
    with open_session(dsn, HOLD) as session, advisory.line(session, KEY, "backout/inc-1/%"):
        yield


def tries(session: Session) -> bool:
    return session.execute("SELECT pg_try_advisory_lock(%s)", (KEY,)).fetchone() == (True,)


def test_after_the_line_was_awaited_nobody_else_gets_the_lock_however_short_the_down_is(dsn: str):
    with ExitStack() as stack:
        pod = stack.enter_context(open_session(dsn, "pod"))
        look = stack.enter_context(open_session(dsn, "backout/inc-1/line"))
        for _ in range(5):
            stop = threading.Event()
            got: list[bool] = []

            def again_and_again(stop: threading.Event = stop, got: list[bool] = got) -> None:
                while not stop.is_set():
                    got.append(tries(pod))

            with standing(dsn), open_session(dsn, "backout/inc-1/down") as down:
                assert tries(down)
                hammer = threading.Thread(target=again_and_again)
                hammer.start()
                try:
                    advisory.await_line(look, KEY, HOLD, 30.0)
                    down.close()
                    time.sleep(0.1)
                finally:
                    stop.set()
                    hammer.join()
            assert got
            assert not any(got)
            pod.execute("SELECT pg_advisory_lock(%s)", (KEY,))  # the line is over: the lock becomes free
            pod.execute("SELECT pg_advisory_unlock_all()")


def test_whoever_stands_in_line_leaves_it_when_the_block_ends_although_the_lock_is_still_held(dsn: str):
    with open_session(dsn, "backout/inc-1/down") as down, open_session(dsn, "look") as look:
        assert tries(down)
        with standing(dsn):
            advisory.await_line(look, KEY, HOLD, 30.0)
        waiting = look.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objsubid = 1"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone()
        assert waiting == (0,)


def test_nobody_is_awaited_where_nobody_stands(dsn: str):
    with open_session(dsn, "look") as look:
        begun = time.monotonic()
        advisory.await_line(look, KEY, HOLD, 30.0)
        assert time.monotonic() - begun < 5.0
