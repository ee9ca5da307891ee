"""The shape of the code: short functions, modules that say what they are for, no drawer for odds and ends."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median, quantiles

SOURCE = Path(__file__).resolve().parents[2] / "src" / "backout"


def modules() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}


def function_lengths() -> dict[str, int]:
    """Lines of each function, from `def` to its last line, doc string included."""
    return {
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno)
        - node.lineno
        + 1
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def longest(lengths: dict[str, int]) -> str:
    ranked = sorted(lengths.items(), key=lambda item: -item[1])[:15]
    return "\n" + "\n".join(f"{length:4} {name}" for name, length in ranked)


def test_functions_are_short():
    lengths = function_lengths()
    assert median(lengths.values()) <= 10, longest(lengths)
    assert quantiles(lengths.values(), n=10)[-1] <= 35, longest(lengths)


def test_hardly_any_function_is_longer_than_a_screen():
    lengths = function_lengths()
    over = {name: length for name, length in lengths.items() if length > 60}
    assert len(over) <= 0.025 * len(lengths), longest(over)


def test_every_module_opens_with_what_it_is_for():
    silent = [
        str(path.relative_to(SOURCE)) for path, tree in modules().items() if not ast.get_docstring(tree)
    ]
    assert silent == []


def test_there_is_no_drawer_for_odds_and_ends():
    drawers = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
    assert [str(path) for path in modules() if path.name in drawers] == []


def test_everything_is_synchronous():
    waiting = [name for name in ("asyncio", "anyio") for tree in modules().values() if imports(tree, name)]
    assert waiting == []


def imports(tree: ast.Module, package: str) -> bool:
    """Does the module import this package, or something in it?"""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        if any(name.split(".")[0] == package for name in names):
            return True
    return False
