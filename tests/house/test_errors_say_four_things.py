"""Every error that is made anywhere says what, where, what is intact, and what to type next."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import backout
from backout import errors
from backout.cli import command_line
from backout.errors import BackoutError

SOURCE = Path(backout.__file__).parent
TREE = frozenset(
    name for name, found in vars(errors).items() if inspect.isclass(found) and issubclass(found, BackoutError)
)
PARTS = ("where", "intact", "next")


def names(made: ast.expr) -> frozenset[str]:
    """The classes that a call may make: `Refused(...)`, `(HandedOver if doubt else Refused)(...)`."""
    return frozenset(node.id for node in ast.walk(made) if isinstance(node, ast.Name))


def imported(tree: ast.AST) -> frozenset[str]:
    """The classes of the tree that a module knows; an exception of its own may be called the same."""
    found = (n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == "backout.errors")
    return TREE & {alias.name for node in found for alias in node.names}


def sites() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        known = imported(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and names(node.func) & known:
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", node


def missing(call: ast.Call) -> tuple[str, ...]:
    given = {k.arg: k.value for k in call.keywords}
    empty = {name for name, value in given.items() if isinstance(value, ast.Constant) and not value.value}
    return tuple(part for part in PARTS if part not in given or part in empty)


def test_no_error_leaves_a_part_out():
    found = {place: missing(call) for place, call in sites()}
    assert len(found) > 150
    assert {place: parts for place, parts in found.items() if parts} == {}


@pytest.mark.parametrize(
    "words",
    [
        ("schema", "nothing"),
        ("close", "inc-zzzz"),
        ("verify", "--watch", "soon"),
        ("approve", "inc-zzzz"),
        ("init", "--dir", "nowhere"),
        ("snapshot", "record", "x", "--kind", "disk"),
        ("contain", "--name", "etl"),
        ("copies", "--stop"),
    ],
    ids=lambda words: " ".join(words),
)
def test_a_mistake_on_the_command_line_gets_a_whole_answer(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BACKOUT_CONFIG", raising=False)
    monkeypatch.setenv("BACKOUT_STATE", str(tmp_path / "state"))
    assert command_line(words) in (2, 3)
    told = capsys.readouterr().err
    assert "where" in told
    assert "unknown" not in told.replace("unknown kind", "")
