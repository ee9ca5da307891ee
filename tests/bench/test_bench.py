"""The benchmarks run, and their table says what it should. No figure is asserted: machines differ."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.everything import MEASURES
from benchmarks.table import Judged, Line, plain, shown

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "loss report",
    "clone",
    "untouched",
    "snapshot: proof",
    "proxy",
    "memory",
    "--help",
    "status",
    "apply the log",
    "one change",
    "compare",
    "restore",
    "base backup",
    "p99",
    "write pause",
)


@pytest.mark.soak
@pytest.mark.timeout(900)  # a full tool run many times over: minutes beside other test processes
def test_the_measures_run_on_a_small_table():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--json", "--rows", "5000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["rows"], document["missed"]) == (5000, 0)
    told = [line["what"] for line in document["lines"]]
    assert [part for part in PARTS if not any(part in what for what in told)] == []
    assert list(dict.fromkeys(line["measure"] for line in document["lines"])) == list(MEASURES)
    # What untouched tables cost is a difference of two runs, and a clone of so few rows can cost less than
    # one tick of the clock that counts CPU time: both can come out as nothing.
    may_be_nothing = ("untouched", "clone", "errors", "lost")
    assert [
        line["what"]
        for line in document["lines"]
        if not line["skipped"]
        and line["measured"] <= 0
        and not any(part in line["what"] for part in may_be_nothing)
    ] == []


def test_a_page_is_not_written_from_sizes_that_cannot_be_judged():
    asked = [sys.executable, "-m", "benchmarks", "--quick", "--write"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "leave --quick out" in done.stderr


def test_what_could_not_be_measured_has_no_figure_and_misses_no_target():
    skipped = Line("a", 0.0, "ms", limit=100, judged=Judged.MEASURED, skipped="no pooler here")
    assert (skipped.within, plain(skipped)["measured"]) == (None, None)
    assert "not measured: no pooler here" in shown([skipped])


def test_a_target_may_be_about_the_figure_the_ratio_or_what_is_added():
    figure = Line("a", 150.0, "ms", limit=200, judged=Judged.MEASURED)
    ratio = Line("b", 2.6, "CPU s", 2.0, "floor", 1.2)
    added = Line("c", 0.7, "ms", 0.3, "direct", 0.5, Judged.ADDED)
    rate = Line("d", 40.0, "MiB per CPU s", limit=60, judged=Judged.MEASURED, at_least=True)
    none = Line("e", 1.0, "ms")
    assert [line.within for line in (figure, ratio, added, rate, none)] == [True, False, True, False, None]
    assert [line.target for line in (ratio, added, rate)] == [
        "<= 1.2 x",
        "<= 0.5 ms added",
        ">= 60 MiB per CPU s",
    ]
    assert plain(ratio)["ratio"] == 1.3


def test_the_table_names_floor_and_target_of_a_line():
    lines = shown([Line("loss report", 2.6, "CPU s", 2.0, "pg_dump", 1.2)]).splitlines()
    assert lines[0].split() == ["what", "measured", "peer", "or", "floor", "ratio", "target", "within"]
    assert re.split(" {2,}", lines[2]) == [
        "loss report",
        "2.600 CPU s",
        "2.000 CPU s pg_dump",
        "1.30",
        "<= 1.2 x",
        "NO",
    ]
