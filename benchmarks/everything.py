"""All measures one after the other: what each is called, how much is measured, on what."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from benchmarks import (
    applying,
    backups,
    compares,
    cutovers,
    losses,
    proxies,
    repairs,
    restores,
    snapshots,
    start_up,
)
from benchmarks.cpu import Cost
from benchmarks.dumps import plain_dump, stored_dump
from benchmarks.table import Judged, Line
from benchmarks.world import World, world

MEASURES: dict[str, ModuleType] = {
    "Loss report": losses,
    "Comparison": compares,
    "Proof of a snapshot": snapshots,
    "Restore": restores,
    "Base backup": backups,
    "Proxy": proxies,
    "Repair in place": repairs,
    "Applying the log": applying,
    "Cutover": cutovers,
    "Start-up": start_up,
}
"""In the order in which they are shown; a module's docstring says what it measures beside what."""

Measured = dict[str, list[Line]]
"""Name of a measure -> its lines."""
Facts = dict[str, object]
"""What they were measured on."""

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
    restores: int
    repaired: int
    """Rows; the table has a hundred times as many."""
    before: float
    """Seconds in which clients write before the repair begins."""
    moves: int


FULL = Size(
    rows=5_000_000,
    statements=2_000,
    rounds=5,
    starts=15,
    reports=5,
    transactions=40_000,
    restores=3,
    repaired=20_000,
    before=10.0,
    moves=6,
)
MODERATE = Size(
    rows=500_000,
    statements=500,
    rounds=3,
    starts=5,
    reports=1,
    transactions=10_000,
    restores=2,
    repaired=20_000,
    before=5.0,
    moves=6,
)
QUICK = Size(
    rows=50_000,
    statements=200,
    rounds=2,
    starts=3,
    reports=1,
    transactions=500,
    restores=1,
    repaired=200,
    before=1.0,
    moves=1,
)


def measure(size: Size, major: int | None) -> tuple[Measured, Facts]:
    """Every measure with its lines, in the order of `MEASURES`, and what they were measured on."""
    begun, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="backout-bench-") as name:
        directory = Path(name)
        _compile_once(directory)
        with world(major) as place:
            found = _on_tables(place, size, directory)
            facts: Facts = {"postgresql": place.client.version}
        found |= _apart(size, major, directory)
    facts |= _machine() | {
        "rows": size.rows,
        "seconds": round(time.monotonic() - begun),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
    }
    return {measure: found[measure] for measure in MEASURES}, facts


def _on_tables(place: World, size: Size, directory: Path) -> Measured:
    """What is measured on one large and one small table of one server."""
    few = size.rows // _SMALL
    _note(f"tables of {size.rows:,} and {few:,} rows are made")
    place.create("large", size.rows)
    place.create("small", few)
    found, loss_large, proof_large = _large(place, size, directory)
    place.drop("large")
    _note("loss report and proof, small")
    small, loss_small = losses.small(place, "small", few, size.rows, size.reports)
    _, proof_small = snapshots.proof(place, "small", directory / "small", plain_dump(place, "small"))
    found["Loss report"] += [*small, _memory(size.rows, loss_large, few, loss_small)]
    found["Proof of a snapshot"].append(_memory(size.rows, proof_large, few, proof_small))
    _note("start-up")
    found["Start-up"] = start_up.lines(place, "small", directory / "project", size.starts)
    return found


def _large(place: World, size: Size, directory: Path) -> tuple[Measured, Cost, Cost]:
    """What is measured on the large table; what its loss report and its proof cost."""
    floor = plain_dump(place, "large")
    stored = stored_dump(place, "large", directory / "stored")
    dump = Line("a pg_dump that can be restored", stored.cpu, "CPU s", floor.cpu, "pg_dump to /dev/null")
    _note("loss report, large")
    report, loss = losses.large(place, "large", size.rows, floor)
    _note("comparison")
    compared = compares.lines(place, "large", size.rows, floor)
    _note("snapshot and proof, large")
    proof, proved = snapshots.proof(place, "large", directory / "large", floor)
    _note("base backup")
    backed_up = backups.lines(place)
    _note("proxy")
    passed = proxies.lines(place, "large", size.statements, size.rounds)
    found: Measured = {
        "Loss report": report,
        "Comparison": compared,
        "Proof of a snapshot": [dump, *proof],
        "Base backup": backed_up,
        "Proxy": passed,
    }
    return found, loss, proved


def _apart(size: Size, major: int | None, directory: Path) -> Measured:
    """What needs servers of its own."""
    found: Measured = {}
    _note("restore")
    found["Restore"] = restores.lines(major, size.rows // 2, size.restores, directory / "restore")
    _note("repair in place")
    found["Repair in place"] = repairs.lines(major, size.repaired, size.before)
    _note("applying the log")
    found["Applying the log"] = applying.lines(major, size.transactions)
    _note("cutover")
    found["Cutover"] = cutovers.lines(major, size.moves)
    return found


def _memory(rows: int, large: Cost, few: int, small: Cost) -> Line:
    name = f"for {few:,} rows"
    return Line(
        f"  memory of its client, {rows:,} rows",
        *(large.peak_mib, "MiB", small.peak_mib, name, 200, Judged.MEASURED),
    )


def _machine() -> Facts:
    """What a reader needs to know to compare figures with those of another machine."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    models = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    return {
        "python": platform.python_version(),
        "processor": next(models, ": unknown").partition(":")[2].strip(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / (1 << 30)),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _compile_once(directory: Path) -> None:
    """Let every child find its modules compiled, as those of an installed program are."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(directory / "compiled")


def _note(text: str) -> None:
    sys.stderr.write(f"bench: {time.strftime('%H:%M:%S')} {text} (load {os.getloadavg()[0]:.1f})\n")
