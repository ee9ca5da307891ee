"""Projects with a database, on each major version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backout.testing.servers import RealServer
from tests.readiness.world import Place, place


@pytest.fixture
def here(
    pg18: RealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    """A project on PostgreSQL 18."""
    with place(pg18, tmp_path, monkeypatch, capsys) as made:
        yield made


@pytest.fixture
def anywhere(
    pg: RealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    """A project on each major version."""
    with place(pg, tmp_path, monkeypatch, capsys) as made:
        yield made
