"""Links lead somewhere, pages are reached, and the documentation builds without a warning."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.texts import DOCS, ROOT, anchors, headings, links, pages

RUNBOOK = (
    "Initial triage (first 10 minutes)",
    "Mandatory pre-action checklist",
    "Choose rollback strategy",
    "Execute a down migration",
    "Restore from backup",
    "Revert application deployment",
    "Post-rollback verification",
    "Communication and coordination",
    "Common scenarios",
    "Recovery and controlled re-enable",
    "Condensed rollback checklist",
    "Postmortem and corrective actions",
)


@pytest.mark.parametrize("page", pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_page_begins_with_its_one_title(page: Path):
    assert page.read_text("utf-8").startswith("# "), "the first line is the title"
    assert len(headings(page)) == len([h for h in headings(page) if h])


def test_the_runbook_has_a_command_for_every_section():
    text = (DOCS / "howto" / "runbook.md").read_text("utf-8")
    for section in RUNBOOK:
        assert f"## {section}" in text, section


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="Sphinx comes with ./run docs")
def test_the_documentation_builds_without_a_warning(tmp_path: Path):
    command = (sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-b", "html")
    done = subprocess.run(
        (*command, str(DOCS), str(tmp_path)), capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "howto" / "run.html").exists()
