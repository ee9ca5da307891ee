"""The reference is what the code says today, and everything in the code has its place there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tools import reference

from backout.model.check import CheckState
from backout.model.execution import Outcome
from backout.model.loss import Basis, LossKind
from backout.model.plan import Strategy, Verdict
from backout.model.snapshot import Scope
from backout.sql.rules import RULES
from tests.docs.texts import DOCS, headings

PAGES = DOCS / "reference"
VERBS = tuple(reference.commands())


def test_the_committed_reference_is_what_the_code_says_now():
    stale = [str(path.relative_to(DOCS)) for path in reference.stale()]
    assert stale == [], "write them anew: .venv/bin/python -m tools.reference"


@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_width_of_a_terminal_changes_nothing(columns: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", columns)
    assert reference.stale() == ()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_help_and_a_how_to(verb: str):
    assert f"backout {verb}" in headings(PAGES / "cli.md")
    page = (PAGES / reference.how_to(verb)).resolve()
    assert page.exists(), f"no page for {verb}: {page}"
    assert f"backout {verb}" in page.read_text("utf-8")


def test_help_fits_80_columns():
    page = (PAGES / "cli.md").read_text("utf-8")
    text = [part for n, part in enumerate(page.split("```")) if n % 2]
    assert [line for part in text for line in part.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("found", tuple(reference.error_classes()), ids=lambda c: c.__name__)
def test_every_error_has_its_heading_and_a_known_exit_code(found: Any):
    assert found.__name__ in headings(PAGES / "errors.md")
    assert found.exit_code in range(1, 8)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_every_hazard_has_its_heading(rule: Any):
    assert rule.name in headings(PAGES / "hazards.md")


def test_every_setting_has_its_heading_and_a_description():
    schema = json.loads((PAGES / "backout.schema.json").read_text("utf-8"))
    found = headings(PAGES / "configuration.md")
    for table, _, keys in reference.tables(schema):
        for key, about in keys.items():
            assert key in found, (table, key)
            assert about.get("description"), f"{table} {key} has no description in settings.py"


def test_every_word_that_is_counted_or_judged_has_its_place():
    words = headings(PAGES / "words.md")
    for enum in (Basis, LossKind, CheckState, Outcome, Scope):
        for member in enum:
            assert member.value in words, member
    verdicts = headings(PAGES / "verdicts.md")
    for verdict in Verdict:
        assert verdict.value in verdicts, verdict
    for strategy in Strategy:
        assert f"{strategy.value}: {strategy.words}" in verdicts, strategy


def test_a_stale_page_is_found_and_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path)
    assert reference.write() and reference.stale() == ()
    (tmp_path / "cli.md").write_text("something else")
    (tmp_path / "documents" / "gone.schema.json").write_text("{}")
    assert {path.name for path in reference.stale()} == {"cli.md", "gone.schema.json"}
    reference.write()
    assert reference.stale() == ()
