"""A repair in place beside running writers: how much later they are answered, and how fast it is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import quantiles

from tests.lost_writes.worlds import World, world

from backout.testing.servers import RealServer, available_majors, start_server, stop_server
from benchmarks.table import Judged, Line
from benchmarks.world import DURABLE

_SHARE = 100
"""One row in so many was changed by the migration."""
_SETUP = """
CREATE TABLE users (id int PRIMARY KEY, full_name text, points int NOT NULL, seen int NOT NULL DEFAULT 0);
INSERT INTO users SELECT i, 'User ' || i, i FROM generate_series(1, {rows}) i"""
_UP = f"UPDATE users SET points = 0 WHERE id % {_SHARE} = 0"  # noqa: S608 - a number
_REST = 1.0
"""As `run` does it: after each batch a pause as long as the batch."""
Write = tuple[float, float]
"""When a write began and how long it took, in seconds."""


def lines(major: int | None, repaired: int, before: float) -> list[Line]:
    """`repaired` rows of a table of a hundred times as many; `before` seconds of writing go ahead of it."""
    rows = repaired * _SHARE
    server = start_server(major or available_majors()[-1], settings=DURABLE)
    try:
        with world(server, _SETUP.format(rows=rows), _UP, "") as place:
            _settle(server, place)
            writes, begun, ended = _repair(server, place, rows, before)
            _require_right(place, repaired, len(writes))
    finally:
        stop_server(server)
    quiet = [took for at, took in writes if at + took < begun]
    beside = [took for at, took in writes if at < ended and at + took > begun]
    name = "before it"
    return [
        Line(
            f"p99 of writers while {repaired:,} of {rows:,} rows are repaired",
            *(_percentile(beside, 99), "ms", _percentile(quiet, 99), name, 10, Judged.ADDED),
        ),
        Line("  their median", _percentile(beside, 50), "ms", _percentile(quiet, 50), name),
        Line("  their slowest write", max(beside) * 1000, "ms", max(quiet) * 1000, name),
        Line("  rows repaired, pauses included", repaired / (ended - begun), "rows/s"),
    ]


def _settle(server: RealServer, place: World) -> None:
    """Nobody pays later for what the set-up left behind."""
    for session in (place.before, place.migrated, place.live):
        with server.connect(str(session.info.dbname)) as admin:
            admin.execute("VACUUM ANALYZE users")
    with server.connect() as admin:
        admin.execute("CHECKPOINT")


def _repair(server: RealServer, place: World, rows: int, before: float) -> tuple[list[Write], float, float]:
    """All writes of all clients, and when the repair began and ended."""
    writes: list[Write] = []
    with _clients(server.dsn(str(place.live.info.dbname)), rows, writes):
        time.sleep(before)
        begun = time.monotonic()
        place.repair(rest=_REST)
        ended = time.monotonic()
    return writes, begun, ended


@contextmanager
def _clients(dsn: str, rows: int, writes: list[Write]) -> Iterator[None]:
    """Clients that write for the length of the block; what they saw is in `writes` behind it."""
    with subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "benchmarks.clients", str(rows)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(dsn + "\n")
        child.stdin.flush()
        if child.stdout.readline() != "writing\n":
            raise RuntimeError("the clients ended with an error, see above")
        yield
        child.stdin.close()
        writes.extend((at, took) for at, took in json.loads(child.stdout.read()))


def _percentile(seconds: list[float], percent: int) -> float:
    """In milliseconds."""
    if len(seconds) < 2:
        raise RuntimeError("too few writes were seen: the repair is too short to be measured")
    return quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1000


def _require_right(place: World, repaired: int, writes: int) -> None:
    """A measure of something wrong would be worth nothing."""
    right, seen = place.rows(
        f"SELECT count(*) FILTER (WHERE points = id AND id % {_SHARE} = 0), sum(seen) FROM users"  # noqa: S608
    )[0]
    if (right, seen) != (repaired, writes):
        raise RuntimeError(f"{right} of {repaired} rows are right, {seen} of {writes} writes are there")
