"""The page of the measures: a line for each of them, and what is not met is said in both places."""

from __future__ import annotations

import re

from benchmarks.everything import MEASURES
from benchmarks.page import NOT_MET, PAGE, page
from benchmarks.table import Judged, Line

from tests.docs.texts import DOCS

FACTS: dict[str, object] = {
    "postgresql": "18.1",
    "python": "3.11.7",
    "cores": 2,
    "processor": "some processor",
    "memory_gib": 8,
    "date": "2026-01-31",
    "rows": 5000,
    "seconds": 60,
    "load": [0.1, 1.5],
}
LIMITS = DOCS / "explanations" / "limits.md"


def sections(text: str) -> dict[str, str]:
    """Name of a measure -> its part of the page."""
    return {part.partition("\n")[0].strip(): part for part in text.split("\n## ")[1:]}


def not_met(text: str) -> set[str]:
    return {name for name, part in sections(text).items() if NOT_MET in part}


def test_the_page_has_a_table_for_each_measure():
    found = sections(PAGE.read_text("utf-8"))
    assert list(found) == list(MEASURES)
    assert [name for name, part in found.items() if not re.search(r"^\| .*\d.* \|$", part, re.M)] == []


def test_what_is_not_met_is_named_in_the_limits_with_its_reason_and_nothing_else_is():
    cost = sections(LIMITS.read_text("utf-8"))["Cost"]
    assert set(re.findall(r"^- \*\*(.+?)\*\*", cost, re.M)) == not_met(PAGE.read_text("utf-8"))


def test_a_missed_target_is_called_so_and_a_skipped_measure_says_why():
    measured = {name: [Line("a", 1.0, "ms")] for name in MEASURES}
    measured["Restore"] = [Line("restore", 9.0, "s", 10.0, "pg_restore", 0.65)]
    measured["Cutover"] = [
        Line("write pause", 0.0, "ms", limit=100, judged=Judged.MEASURED, skipped="pgbouncer is not here")
    ]
    text = page(measured, FACTS)
    assert not_met(text) == {"Restore"}
    assert "**0 of 1 targets are met.** Not met in: Restore;" in text
    assert f"| restore | 9.000 s | 10.0 s pg_restore | 0.90 | ≤ 0.65 x | {NOT_MET} |" in text
    assert "| write pause | not measured: pgbouncer is not here |" in text


def test_the_page_says_when_the_machine_was_shared():
    measured = {name: [Line("a", 1.0, "ms")] for name in MEASURES}
    assert "was shared with other work" not in page(measured, FACTS)
    assert "was shared with other work** (load 3.0" in page(measured, FACTS | {"load": [3.0, 3.5]})
