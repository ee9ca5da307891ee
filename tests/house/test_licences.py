"""The licence check refuses what it does not know and what is not on its list."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from tools import licences

ROOT = Path(__file__).resolve().parents[2]
RULES = licences.read_rules(ROOT / "tools" / "licences.toml")


@pytest.mark.parametrize(
    "licence", ["MIT", "MIT License", "GPL-3.0-only OR MIT", "Apache-2.0 AND BSD-3-Clause"]
)
def test_permissive_licences_are_fine(licence: str):
    assert list(licences.problems({"some-package": licence}, RULES)) == []


@pytest.mark.parametrize(
    "licence", ["", "GPL-3.0-only", "MIT AND GPL-3.0-only", "LGPL-3.0-only", "Proprietary"]
)
def test_others_are_named(licence: str):
    (line,) = licences.problems({"some-package": licence}, RULES)
    assert line.startswith("some-package: ")


def test_an_exception_holds_for_its_package_and_licence_only():
    assert list(licences.problems({"psycopg": "LGPL-3.0-only"}, RULES)) == []
    assert list(licences.problems({"psycopg": "AGPL-3.0-only"}, RULES)) != []


def test_an_exception_without_a_reason_is_an_error(tmp_path: Path):
    path = tmp_path / "rules.toml"
    path.write_text('allowed = []\n[exceptions]\na = { licence = "X" }\n[synonyms]\n[by_hand]\n')
    with pytest.raises(ValueError, match="without a reason"):
        licences.read_rules(path)


def test_nothing_is_read_by_hand_that_is_no_longer_locked():
    locked = licences.locked_python(ROOT / "uv.lock")
    assert sorted((RULES.by_hand.keys() | RULES.exceptions.keys()) - locked) == []


def test_every_direct_dependency_is_explained_in_the_documentation():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    groups += project["dependency-groups"].values()
    names = {line.split(">=")[0].split("[")[0] for group in groups for line in group}
    page = (ROOT / "docs" / "dependencies.md").read_text()
    assert sorted(name for name in names if f"**{name}**" not in page) == []
