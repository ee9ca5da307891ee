"""How long the command line takes to answer, against the bare interpreter."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.table import Judged, Line
from benchmarks.world import World

_CONFIG = """\
[target.heroes]
environment = "production"
dsn.operate.env = "BENCH_DSN"
[target.heroes.migrations]
tool = "sql"
directory = "migrations"
[target.heroes.checks.heroes]
regclass = "public.heroes"
"""
_MIGRATION = """\
-- migrate:up
ALTER TABLE public.heroes ADD COLUMN alias text;
-- migrate:down
ALTER TABLE public.heroes DROP COLUMN alias;
"""
_APPLIED = (
    "CREATE TABLE public.schema_migrations (version varchar(128) PRIMARY KEY)",
    "INSERT INTO public.schema_migrations VALUES ('20240101000000')",
    "ALTER TABLE public.heroes ADD COLUMN alias text",
)


def lines(world: World, database: str, directory: Path, times: int) -> list[Line]:
    """`--help`, and `status` while an incident is open; run once before, so that all is compiled."""
    environment = {
        **os.environ,
        "BACKOUT_STATE": str(directory / "state"),
        "BENCH_DSN": world.server.dsn(database),
    }
    _project(world, database, directory)
    backout = [sys.executable, "-m", "backout"]
    opened = [*backout, "open", "--config", str(directory / "backout.toml"), "--by", "bench"]
    _once(opened, environment)
    bare = _many([sys.executable, "-c", "pass"], environment, times)
    help_ = _many([*backout, "--help"], environment, times)
    status = _many([*backout, "status", "--config", str(directory / "backout.toml")], environment, times)
    return [
        Line(f"backout --help, median of {times}", help_[0], "ms", limit=200, judged=Judged.MEASURED),
        Line("  CPU", help_[1], "CPU ms", bare[1], "bare interpreter", 8),
        Line("backout status with one incident", status[0], "ms", limit=500, judged=Judged.MEASURED),
        Line("  CPU", status[1], "CPU ms", bare[1], "bare interpreter"),
    ]


def _project(world: World, database: str, directory: Path) -> None:
    (directory / "migrations").mkdir(parents=True)
    (directory / "backout.toml").write_text(_CONFIG)
    (directory / "migrations" / "20240101000000_alias.sql").write_text(_MIGRATION)
    world.run(database, *_APPLIED)


def _many(command: Sequence[str], environment: Mapping[str, str], times: int) -> tuple[float, float]:
    """Median wall and CPU milliseconds, after one run that does not count."""
    _once(command, environment)
    runs = [_once(command, environment) for _ in range(times)]
    return median(wall for wall, _ in runs), median(cpu for _, cpu in runs)


def _once(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    used, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(  # noqa: S603 - the interpreter, with our own program
        command, env=dict(environment), capture_output=True, text=True, check=False
    )
    wall, now = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return wall * 1000, cpu * 1000
