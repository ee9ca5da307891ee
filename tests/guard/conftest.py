"""Servers that write a logical log, and a small shop with every kind of table a guard has to know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backout.testing.servers import RealServer, available_majors, start_server, stop_server
from tests.guard.world import Shop, shop_on

_running: dict[int, RealServer] = {}
# What is read from a slot ends at what was flushed; servers of tests do not wait for that by themselves.
LOGICAL = {"wal_level": "logical", "synchronous_commit": "on"}


def logical(major: int) -> RealServer:
    """One server of this major with wal_level = logical, shared by the tests of this folder."""
    if major not in available_majors():
        pytest.skip(f"PostgreSQL {major} is not on this machine")
    if major not in _running:
        _running[major] = start_server(major, settings=LOGICAL)
    return _running[major]


@pytest.fixture(scope="package", autouse=True)
def _servers_end() -> Iterator[None]:
    yield
    while _running:
        stop_server(_running.popitem()[1])


@pytest.fixture(params=[16, 18], ids=["pg16", "pg18"])
def shop(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Shop]:
    """The shop of an owner who may replicate."""
    with shop_on(logical(request.param), tmp_path, monkeypatch, capsys) as made:
        yield made


@pytest.fixture
def shop16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shop]:
    """On one version, for what does not depend on the server."""
    with shop_on(logical(16), tmp_path, monkeypatch, capsys) as made:
        yield made
