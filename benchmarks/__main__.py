"""`./run bench`: every measure of the house in one table, each beside its floor from the same run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.everything import FULL, MODERATE, QUICK, Facts, Measured, Size, measure
from benchmarks.page import PAGE, page
from benchmarks.table import Line, plain, shown


def main(arguments: Sequence[str]) -> int:
    """Measure and print; 1 when a target is missed."""
    asked = _asked(arguments)
    measured, facts = measure(_size(asked), asked.major)
    if asked.quick:
        measured = {name: [_unjudged(line) for line in lines] for name, lines in measured.items()}
    if asked.write:
        PAGE.write_text(page(measured, facts), "utf-8")
    lines = [line for of_one in measured.values() for line in of_one]
    missed = sum(line.within is False for line in lines)
    if asked.json:
        sys.stdout.write(json.dumps(_document(measured, facts, missed)) + "\n")
    else:
        sys.stdout.write(shown(lines) + "\n\n" + _footer(facts, _verdict(asked.quick, missed)) + "\n")
    return 1 if missed else 0


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--moderate", action="store_true", help="smaller sizes: minutes, can be judged")
    sizes.add_argument("--quick", action="store_true", help="small sizes: shows that it works, not how fast")
    parser.add_argument("--rows", type=int, help=f"rows of the large table; default {FULL.rows:,}")
    parser.add_argument("--major", type=int, help="major version of PostgreSQL; default: the newest here")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--write", action="store_true", help="write docs/reference/measures.md as well")
    asked = parser.parse_args(arguments)
    if asked.quick and asked.write:
        parser.error("--write needs sizes that can be judged: leave --quick out")
    return asked


def _size(asked: argparse.Namespace) -> Size:
    size = QUICK if asked.quick else MODERATE if asked.moderate else FULL
    return replace(size, rows=asked.rows) if asked.rows else size


def _unjudged(line: Line) -> Line:
    return replace(line, limit=None)


def _document(measured: Measured, facts: Facts, missed: int) -> dict[str, object]:
    lines = [{"measure": name, **plain(line)} for name, of_one in measured.items() for line in of_one]
    return {**facts, "missed": missed, "lines": lines}


def _footer(facts: Facts, verdict: str) -> str:
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
