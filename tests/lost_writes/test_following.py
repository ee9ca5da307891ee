"""Following a log: what ends it is heard, what breaks off is opened again, who is outrun hears figures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from backout.errors import NeighbourUnreachable, Stopped
from backout.phases.lost_writes import carry, following
from backout.phases.lost_writes.following import Following, Naming, Route
from backout.ports.world import Session
from backout.postgres.connect import open_session
from backout.postgres.writes import memory, tables
from backout.testing.servers import RealServer


@pytest.fixture
def route(pg16: RealServer, tmp_path: Path) -> Iterator[Route]:
    with pg16.database() as name:
        dsn = pg16.layout.conninfo(name)
        with open_session(dsn, "backout/test/0") as session:
            tables.make_tables(session)
            memory.make_tables(session)
            tables.begin_run(session, "inc-f", 1)
        yield Route(dsn, "no_slot", (), None, dsn, "inc-f", "inc-f", tmp_path, "backout/inc-f/1")


def ended(made: Following) -> None:
    until = time.monotonic() + 20
    while made._thread.is_alive():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_an_error_that_nobody_foresaw_ends_it_and_is_heard(route: Route):
    def translate(session: Session, stack: ExitStack) -> Naming:
        session.execute("SELECT 1 / 0")
        raise AssertionError("not reached")

    with following.following_log(route, translate) as made:
        ended(made)
        with pytest.raises(Stopped, match="division by zero"):
            made.require_alive()
        assert made.checks()[0].detail == "division by zero"
        assert made.lag().seconds == float("inf")


@dataclass
class Position:
    lsn: int = 0


def test_breaks_are_counted_in_a_row(route: Route, monkeypatch: pytest.MonkeyPatch):
    """A connection that is lost every hour does not end a replay that runs for days."""
    monkeypatch.setattr(following, "_AGAIN_SECONDS", 0.0)

    def translate(session: Session, stack: ExitStack) -> Naming:
        raise AssertionError("not reached")

    calls = 0

    def once(self: Following) -> None:
        nonlocal calls
        calls += 1
        if calls <= 60:  # each of these has carried something
            self._applier = Position(calls)  # type: ignore[assignment]
        raise NeighbourUnreachable("gone", where="x", intact="x", next="x")

    monkeypatch.setattr(Following, "_once", once)
    with following.following_log(route, translate) as made:
        ended(made)
    assert 60 + following._BREAKS - 1 <= calls <= 60 + following._BREAKS


def test_a_replay_that_the_application_outruns_is_given_up_with_figures():
    pace = carry.Pace(0.0, 1_000_000)
    assert not pace.outrun(carry.OUTRUN_SECONDS - 1, 2_000_000)
    assert pace.told(10.0, 1_500_000) == "1,500,000 bytes of log to go, 50,000 a second more than 10 s ago"
    assert not pace.outrun(carry.OUTRUN_SECONDS, 400_000), "it came nearer: another period"
    assert pace.outrun(2 * carry.OUTRUN_SECONDS, 400_000)
    assert pace.told(130.0, 300_000) == "300,000 bytes of log to go, 10,000 a second less than 10 s ago"
