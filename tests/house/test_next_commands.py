"""No dead command: whatever backout tells people to type, its own command line takes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import backout
from tests.commands import NAMES, commands, dead, problem

SOURCE = Path(backout.__file__).parent
GOLDEN = Path(__file__).parents[1] / "render" / "golden"
_PARTS = ("next", "mend", "following", "hint")


def text_of(node: ast.expr) -> str:
    """The text of a literal; what is filled in stands as `1`, which any option and argument takes."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(text_of(value) for value in values)
        case ast.FormattedValue(value=value):
            return text_of(value) if isinstance(value, ast.Constant | ast.IfExp) else "1"
        case ast.IfExp(body=body):
            return text_of(body)
        case _:
            return "1"


def docstrings(tree: ast.AST) -> frozenset[int]:
    """Expressions that stand alone: docstrings and notes on fields."""
    return frozenset(id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr))


def literals() -> Iterator[tuple[str, str, bool]]:
    """(place, text, whether it is what `next` says) of every text in the code."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        alone = docstrings(tree)
        asked = {
            id(n)
            for k in ast.walk(tree)
            if isinstance(k, ast.keyword) and k.arg in _PARTS
            for n in ast.walk(k)
        }
        inner = {
            id(n) for j in ast.walk(tree) if isinstance(j, ast.JoinedStr) for n in ast.walk(j) if n is not j
        }
        for node in ast.walk(tree):
            if id(node) in alone or id(node) in inner:
                continue
            if isinstance(node, ast.JoinedStr) or (
                isinstance(node, ast.Constant) and isinstance(node.value, str)
            ):
                place = f"{path.relative_to(SOURCE)}:{node.lineno}"
                yield place, text_of(node), id(node) in asked


def test_no_text_in_the_code_names_a_dead_command():
    found = list(literals())
    assert sum(is_next and bool(list(commands(text))) for _, text, is_next in found) > 100
    wrong = []
    for place, text, is_next in found:
        for command in commands(text):
            is_verb = command.split()[0] in NAMES
            if (is_next or is_verb) and (why := problem(command)):
                wrong.append(f"{place}: {why}")
    assert wrong == []


@pytest.mark.parametrize("screen", sorted(GOLDEN.glob("*.txt")), ids=lambda path: path.stem)
def test_what_a_screen_says_is_next_can_be_typed(screen: Path):
    for line in screen.read_text("utf-8").splitlines():
        for head in ("next: ", "first: "):
            if line.startswith(head):
                assert dead(line.removeprefix(head)) == []


def test_a_dead_command_is_found():
    assert list(
        commands("end it, then: backout resume inc-1, or (backout copies) and `backout kept list`.")
    ) == [
        "resume inc-1",
        "copies",
        "kept list",
    ]
    quoted = "backout kept drop inc-1 --reason 'exported, or not; OPS-17' --as NAME"
    assert list(commands(f"{quoted}, then: 'backout status'")) == [quoted.removeprefix("backout "), "status"]
    assert problem("resume inc-1 --watch 30m") == ""
    assert "no verb forget" in problem("forget inc-1")
    assert "wants a verb" in problem("kept")
    assert "--force" in problem("close inc-1 --force")
    assert problem("kept drop") != ""
