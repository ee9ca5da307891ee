"""`./run bench`: every measure of the house in one table, each beside its floor from the same run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import applying, losses, proxies, snapshots, start_up
from benchmarks.cpu import Cost
from benchmarks.dumps import plain_dump, stored_dump
from benchmarks.table import Judged, Line, plain, shown
from benchmarks.world import World, world

_SMALL = 25
"""The small table has this part of the large one's rows."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rows: int
    statements: int
    rounds: int
    starts: int
    reports: int
    """How often a small report is repeated; the middle one counts."""
    transactions: int
    """How many of them the log holds that is replayed."""


FULL = Size(rows=5_000_000, statements=2_000, rounds=5, starts=15, reports=5, transactions=40_000)
QUICK = Size(rows=50_000, statements=200, rounds=2, starts=3, reports=1, transactions=500)


def measure(size: Size, major: int | None) -> tuple[list[Line], dict[str, object]]:
    """All lines, and what they were measured on."""
    with world(major) as place, tempfile.TemporaryDirectory(prefix="backout-bench-") as name:
        directory = Path(name)
        _compile_once(directory)
        few = size.rows // _SMALL
        _note(f"tables of {size.rows:,} and {few:,} rows are made")
        place.create("large", size.rows)
        place.create("small", few)
        large, loss_large, proof_large = _large(place, size, directory)
        place.drop("large")
        _note("loss report and proof, small")
        small, loss_small = losses.small(place, "small", few, size.rows, size.reports)
        _, proof_small = snapshots.proof(place, "small", directory / "small", plain_dump(place, "small"))
        memory = [
            _memory("loss report", size.rows, loss_large.peak_mib, few, loss_small.peak_mib),
            _memory("proof", size.rows, proof_large.peak_mib, few, proof_small.peak_mib),
        ]
        _note("start-up")
        started = start_up.lines(place, "small", directory / "project", size.starts)
        facts: dict[str, object] = {
            "postgresql": place.client.version,
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "rows": size.rows,
        }
    _note("applying the log")
    applied = applying.lines(major, size.transactions)
    return [*large, *small, *memory, *started, *applied], facts


def _large(place: World, size: Size, directory: Path) -> tuple[list[Line], Cost, Cost]:
    """Loss report, snapshot and proxy on the large table; what report and proof cost."""
    floor = plain_dump(place, "large")
    stored = stored_dump(place, "large", directory / "stored")
    _note("loss report, large")
    report, loss = losses.large(place, "large", size.rows, floor)
    _note("snapshot and proof, large")
    proof, proved = snapshots.proof(place, "large", directory / "large", floor)
    _note("proxy")
    passed = proxies.lines(place, "large", size.statements, size.rounds)
    name = "  a pg_dump that can be restored"
    dump = Line(name, stored.cpu, "CPU s", floor.cpu, "pg_dump to /dev/null")
    return [*report, dump, *proof, *passed], loss, proved


def _memory(what: str, rows: int, peak: float, few: int, small: float) -> Line:
    name = f"for {few:,} rows"
    return Line(f"memory of the {what}, {rows:,} rows", peak, "MiB", small, name, 200, Judged.MEASURED)


def _compile_once(directory: Path) -> None:
    """Let every child find its modules compiled, as those of an installed program are."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(directory / "compiled")


def _note(text: str) -> None:
    sys.stderr.write(f"bench: {time.strftime('%H:%M:%S')} {text} (load {os.getloadavg()[0]:.1f})\n")


def main(arguments: Sequence[str]) -> int:
    """Measure and print; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works, not how fast")
    parser.add_argument("--rows", type=int, help=f"rows of the large table; default {FULL.rows:,}")
    parser.add_argument("--major", type=int, help="major version of PostgreSQL; default: the newest here")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    asked = parser.parse_args(arguments)
    size = QUICK if asked.quick else FULL
    if asked.rows:
        size = replace(size, rows=asked.rows)
    begun, load = time.monotonic(), os.getloadavg()[0]
    lines, facts = measure(size, asked.major)
    facts |= {
        "seconds": round(time.monotonic() - begun),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
    }
    if asked.quick:
        lines = [replace(line, limit=None) for line in lines]
    missed = [line for line in lines if line.within is False]
    if asked.json:
        document = {**facts, "missed": len(missed), "lines": [plain(line) for line in lines]}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        sys.stdout.write(shown(lines) + "\n\n" + _footer(facts, _verdict(asked.quick, len(missed))) + "\n")
    return 1 if missed else 0


def _footer(facts: dict[str, object], verdict: str) -> str:
    load = facts["load"]
    assert isinstance(load, list)
    return (
        f"PostgreSQL {facts['postgresql']}, Python {facts['python']}, {facts['cores']} cores,"
        f" load {load[0]} before and {load[1]} after, {facts['seconds']} s.\n"
        "CPU s = server with all its backends + our process with its children; other work on the machine\n"
        f"changes wall time, not CPU time. Ratios are within this run.\n{verdict}"
    )


def _verdict(quick: bool, missed: int) -> str:
    if quick:
        return "--quick: these sizes show that the measures work; they are too small to be judged"
    return f"{missed} targets missed" if missed else "every target met"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
