"""A dump restored to a scratch server of backout's own, beside plain pg_restore into a durable server."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from backout.ports.servers import Scratch
from backout.postgres.client import connection_environment
from backout.postgres.dump import DUMP, finish, read_back, take_dump
from backout.postgres.restore import restore
from backout.postgres.scratch import Registry, layout_of, name_of
from backout.postgres.servers import Layout
from backout.testing.servers import RealServer
from benchmarks.cpu import server_seconds
from benchmarks.table import Line
from benchmarks.world import DURABLE, World, heroes, world

_NAME = "backout/bench/1"
_SOURCE, _PLAIN, _OURS = "several", "plain", "backout_bench_restored"
_TABLES = 4
Took = tuple[float, float]
"""Wall seconds, CPU seconds of the server."""


def lines(major: int | None, rows: int, times: int, directory: Path) -> list[Line]:
    """Four tables of `rows` rows together, each with two indexes; both ways in turn, medians."""
    with world(major, DURABLE) as place:
        dump = _dump(place, rows, directory / "dump")
        with _scratch_server(place, directory / "scratch") as layout:
            rounds = [_round(place, layout, dump) for _ in range(times)]
    plain, analyzed, ours = (_median(way) for way in zip(*rounds, strict=True))
    what, name = f"restore {rows:,} rows in {_TABLES} tables, median of {times}", "pg_restore -j1, durable"
    more = f"{name}, then ANALYZE"
    return [
        Line(what, ours[0], "s", plain[0], name, 0.65),
        Line("  beside one that has statistics as well", ours[0], "s", analyzed[0], more),
        Line("  CPU of the server", ours[1], "CPU s", plain[1], name),
        Line("  beside one that has statistics as well", ours[1], "CPU s", analyzed[1], more),
    ]


def _median(taken: Sequence[Took]) -> Took:
    return median(wall for wall, _ in taken), median(cpu for _, cpu in taken)


def _round(place: World, layout: Layout, dump: Path) -> tuple[Took, Took, Took]:
    """Plain; plain with the statistics that it leaves to autovacuum; ours, which has them."""
    plain = _timed(place.server, lambda: _plain(place, dump))
    statistics = _timed(place.server, lambda: place.run(_PLAIN, "ANALYZE"))
    ours = _timed(RealServer(layout), lambda: _ours(place, layout, dump))
    return plain, (plain[0] + statistics[0], plain[1] + statistics[1]), ours


def _dump(place: World, rows: int, directory: Path) -> Path:
    """A finished dump of ours of a database with several tables."""
    place.run("postgres", f"CREATE DATABASE {_SOURCE}")
    for number in range(_TABLES):
        table = f"public.heroes_{number}"
        place.run(
            _SOURCE,
            heroes(table, 1, rows // _TABLES),
            f"ALTER TABLE {table} ADD PRIMARY KEY (id)",
            f"CREATE INDEX ON {table} (email)",
        )
    taken = take_dump(place.dsn(_SOURCE), place.client, directory, application_name=_NAME)
    finish(taken, read_back(directory, place.client), "bench")
    return directory


@contextmanager
def _scratch_server(place: World, directory: Path) -> Iterator[Layout]:
    """A server as `propose` makes it, in a registry of its own."""
    registry = Registry(directory)
    binaries = place.server.layout.binaries
    with registry.lock():
        registry.ensure(name_of(binaries), binaries)
    record = registry.find(name_of(binaries))
    assert record is not None
    try:
        yield layout_of(record)
    finally:
        registry.remove(record)


def _timed(server: RealServer, work: Callable[[], None]) -> Took:
    """Run it once; what else the servers have to write is written before."""
    with server.connect() as session:
        session.execute("CHECKPOINT")
    used, begun = server_seconds(server), time.monotonic()
    work()
    return time.monotonic() - begun, server_seconds(server) - used


def _plain(place: World, dump: Path) -> None:
    """What people type: an empty database and one pg_restore."""
    place.drop(_PLAIN)
    place.run("postgres", f"CREATE DATABASE {_PLAIN} TEMPLATE template0")
    command = [place.client.program("pg_restore"), "--jobs=1", f"--dbname={_PLAIN}", str(dump / DUMP)]
    with connection_environment(place.dsn(_PLAIN), "bench", {}) as environment:
        subprocess.run(command, env=environment, check=True)  # noqa: S603


def _ours(place: World, layout: Layout, dump: Path) -> None:
    binaries = layout.binaries
    scratch = Scratch(
        *("bench", str(layout.socket_directory), layout.port, layout.user, binaries.major),
        *(str(binaries.directory), str(layout.data)),
    )
    restore(dump, scratch, layout.conninfo("postgres"), _OURS, place.client, application_name=_NAME)
