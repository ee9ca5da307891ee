"""Every setting is read by somebody: a key that does nothing is a promise that nobody keeps."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from pydantic import BaseModel

import backout
from backout import settings

SOURCE = Path(backout.__file__).parent
TABLES = tuple(
    found
    for found in vars(settings).values()
    if inspect.isclass(found) and issubclass(found, BaseModel) and found.__module__ == settings.__name__
)
KEYS = sorted({(table.__name__, key) for table in TABLES for key in table.model_fields})


def read_attributes() -> frozenset[str]:
    """Names that any module reads as an attribute: `budgets.lock_hold`."""
    return frozenset(
        node.attr
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    )


READ = read_attributes()


@pytest.mark.parametrize(("table", "key"), KEYS, ids=lambda word: str(word))
def test_every_setting_is_read_by_something(table: str, key: str):
    assert key in READ, f"{table}.{key} is checked and then read by nothing"
    field = getattr(settings, table).model_fields[key]
    assert "reserved" not in (field.description or "").lower()
