"""What the proxy adds to a statement, and how much it passes on for a second of CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from backout.postgres.connect import open_session
from backout.postgres.proxy.kept_tables import ensure_schema
from benchmarks.table import Judged, Line
from benchmarks.world import World

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy in a process of its own."""

    door: Mapping[str, str]
    """Environment in which a visitor comes to it."""
    to: IO[str]
    told: IO[str]

    def used(self) -> tuple[float, float]:
        """CPU seconds and MiB at most, so far."""
        self.to.write("\n")
        self.to.flush()
        said = json.loads(self.told.readline())
        return said["cpu"], said["peak_mib"]


@contextmanager
def _proxy(policy: str, dsn: str) -> Iterator[Running]:
    with subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "benchmarks.through", policy],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps({"dsn": dsn}) + "\n")
        child.stdin.flush()
        yield Running(json.loads(child.stdout.readline()), child.stdin, child.stdout)
        child.stdin.close()
    if child.returncode:
        raise RuntimeError("the proxy ended with an error, see above")


def _visit(door: Mapping[str, str], what: str, number: int) -> dict[str, float]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-m", "benchmarks.visitor", what, str(number)],
        env=clean | dict(door),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def lines(world: World, database: str, statements: int, rounds: int) -> list[Line]:
    """Direct and through the proxy in turns; the best round of each counts, as
    the machine has other things to do as well."""
    dsn = world.server.dsn(database)
    with open_session(dsn, "backout/bench/1") as session:
        ensure_schema(session)
    world.run(
        database,
        "CREATE TABLE public.history (id int, name text)",
        "CREATE TABLE public.small AS SELECT g AS id, 'x'::text AS first_name FROM generate_series(1, 10) g",
        "ALTER TABLE public.small ADD PRIMARY KEY (id)",
    )
    direct = {
        "PGHOST": "127.0.0.1", "PGPORT": str(world.server.port), "PGDATABASE": database, "PGUSER": "postgres",
    }  # fmt: skip
    found = []
    for policy, words in (("record", "recording"), ("keep", "keeping and gating")):
        with _proxy(policy, dsn) as proxy:
            found += _measured(proxy, direct, words, statements, rounds)
    return found


def _measured(
    proxy: Running, direct: Mapping[str, str], words: str, statements: int, rounds: int
) -> list[Line]:
    straight, through = [], []
    _visit(proxy.door, "statements", 10)
    before, _ = proxy.used()
    for _ in range(rounds):
        straight.append(_visit(direct, "statements", statements)["median_ms"])
        through.append(_visit(proxy.door, "statements", statements)["median_ms"])
    after, _ = proxy.used()
    size = _visit(proxy.door, "copy", 1)["bytes"]
    copied, peak = proxy.used()
    each = (after - before) * 1000 / (statements * rounds)
    floor = min(straight)
    return [
        Line(
            f"proxy {words}: round trip of one INSERT, median of {statements * rounds:,}",
            min(through), "ms", floor, "direct", 0.5, Judged.ADDED,
        ),
        Line("  its own CPU per statement", each, "CPU ms", limit=0.4, judged=Judged.MEASURED),
        Line(
            f"  COPY out of {size / _MIB:,.0f} MiB", size / _MIB / max(copied - after, 1e-3),
            "MiB per CPU s", limit=60, judged=Judged.MEASURED, at_least=True,
        ),
        Line("  its largest memory", peak, "MiB", limit=200, judged=Judged.MEASURED),
    ]  # fmt: skip
