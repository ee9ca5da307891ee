"""The import rules hold: violations in a copy of the tree are caught, each by the rule meant for it."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PORTS = ROOT / "src" / "backout" / "ports"

VIOLATIONS = {
    "a noun imports an effect": ("model/_bad.py", "import backout.postgres.names", "Imports point down"),
    "a phase imports another": (
        "phases/_one/_bad.py",
        "import backout.phases._other.act",
        "Phases are composed in runbooks",
    ),
    "a phase imports an adapter": ("phases/_one/_bad.py", "import backout.adapters", "A room imports only"),
    "the command line imports the database": (
        "cli/_bad.py",
        "import backout.postgres.connect",
        "A room imports only",
    ),
    "the driver leaves its rooms": ("render/_bad.py", "import psycopg", "A room imports only"),
    "a second importer of the parser": ("phases/_one/_bad.py", "import postgast", "A room imports only"),
    "a package nobody put on a line": ("phases/_one/_bad.py", "import pydantic", "A room imports only"),
    "a decision looks at the clock": ("phases/_one/decide.py", "import time", "Decisions and the merge"),
    "a decision speaks to a port": (
        "phases/_one/decide.py",
        "import backout.ports.run",
        "Decisions and the merge",
    ),
    "a room that is on no row": ("cupboard.py", "import backout.errors", "Imports point down"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree with two small phases in it, so that rules between phases can be broken."""
    root = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tools", root / "tools", ignore=shutil.ignore_patterns("__pycache__", "node"))
    shutil.copy(ROOT / ".importlinter", root)
    for name in ("_one/__init__.py", "_other/__init__.py", "_other/act.py"):
        path = root / "src" / "backout" / "phases" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('"""A phase of the test."""\n')
    return root


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "COLUMNS": "200"}
    command = [sys.executable, str(program), "--no-logo", "--cache-dir", str(root / "cache")]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def broken(report: str) -> list[str]:
    return [line.removesuffix(" BROKEN") for line in report.splitlines() if line.endswith(" BROKEN")]


def test_the_copy_without_a_violation_is_kept(copy: Path):
    report = lint(copy)
    assert report.returncode == 0, report.stdout


@pytest.mark.parametrize("case", VIOLATIONS)
def test_a_deliberate_violation_is_caught(copy: Path, case: str):
    name, statement, rule = VIOLATIONS[case]
    path = copy / "src" / "backout" / name
    assert not path.exists()
    path.write_text(f'"""Breaks a rule."""\n\n{statement}\n')
    try:
        report = lint(copy)
    finally:
        path.unlink()
    assert any(line.startswith(rule) for line in broken(report.stdout)), report.stdout


def runtime_imports(tree: ast.Module) -> set[str]:
    """Top-level names that a module imports when it runs, so not below `if TYPE_CHECKING`."""
    found: set[str] = set()
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
        pending.extend(ast.iter_child_nodes(node))
    return found


def test_ports_name_the_driver_only_for_its_types():
    importers = [
        p.name for p in sorted(PORTS.glob("*.py")) if "psycopg" in runtime_imports(ast.parse(p.read_text()))
    ]
    assert importers == []
