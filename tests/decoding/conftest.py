"""A source that can be decoded and a target that keeps its word, of each major version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backout.testing.servers import RealServer, available_majors, start_server, stop_server
from tests.decoding.world import SOURCE, TARGET, World

_running: dict[tuple[int, str], RealServer] = {}


def server(major: int, kind: str) -> RealServer:
    if (major, kind) not in _running:
        settings = SOURCE if kind == "source" else TARGET
        _running[major, kind] = start_server(major, settings=settings)
    return _running[major, kind]


@pytest.fixture(scope="session", autouse=True)
def _servers_end() -> Iterator[None]:
    yield
    for running in _running.values():
        stop_server(running)
    _running.clear()


@pytest.fixture(params=[16, 18], ids=["pg16", "pg18"])
def major(request: pytest.FixtureRequest) -> int:
    wanted: int = request.param
    if wanted not in available_majors():
        pytest.skip(f"PostgreSQL {wanted} is not on this machine")
    return wanted


@pytest.fixture
def world(major: int, tmp_path: Path) -> Iterator[World]:
    """A fresh database on source and target, with the same tables, and an armed slot when asked for."""
    source, target = server(major, "source"), server(major, "target")
    with source.database() as here, target.database() as there:
        made = World(source, target, here, there, tmp_path)
        try:
            yield made
        finally:
            made.end()
