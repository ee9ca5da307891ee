"""One production a version for all tests of restores; each test has a project and a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.physical.world import Productions, production
from tests.restore.places import Place, project


@pytest.fixture(scope="session")
def productions() -> Iterator[Productions]:
    with ExitStack() as stack:
        yield Productions(stack)


@pytest.fixture(params=[16, 18], ids=["pg16", "pg18"])
def place(
    request: pytest.FixtureRequest,
    productions: Productions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Place]:
    with project(productions.of(request.param), tmp_path, monkeypatch, capsys) as made:
        yield made


@pytest.fixture
def place16(
    productions: Productions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Place]:
    """For what does not depend on the version."""
    with project(productions.of(16), tmp_path, monkeypatch, capsys) as made:
        yield made


@pytest.fixture
def alone16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    """For tests that damage the archive or the catalog of the server."""
    with production(16) as prod, project(prod, tmp_path, monkeypatch, capsys) as made:
        yield made
