"""Servers for all tests: one private server per major version, started when first asked for."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

import psycopg
import pytest

from backout.testing.servers import RealServer, available_majors, start_server, stop_server
from tests import leftovers

_VERSION = re.compile(r"(?<=[\[-])pg\d+(?=[\]-])")
"""In the name of a test: the major version that it runs on."""

_running: dict[int, RealServer] = {}


def server_of(major: int) -> RealServer:
    if major not in _running:
        _running[major] = start_server(major)
    return _running[major]


def pytest_report_header() -> str:
    return f"postgresql majors on this machine: {', '.join(map(str, available_majors())) or 'none'}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first: each process takes whole files, and one that begins late is waited for. And of a long
    test that there is for several versions the whole ordinary run takes one; --soak takes the others."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)
    if config.option.file_or_dir:
        return
    versions: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("slow") and _VERSION.search(item.nodeid):
            versions.setdefault(_VERSION.sub("", item.nodeid), []).append(item)
    for name, same in versions.items():
        chosen = zlib.crc32(name.encode()) % len(same)
        for number, item in enumerate(same):
            if number != chosen:
                item.add_marker(pytest.mark.soak)


def pytest_sessionfinish(session: pytest.Session) -> None:
    for server in _running.values():
        stop_server(server)
    _running.clear()
    if not hasattr(session.config, "workerinput"):  # the last to end
        leftovers.remove(session.config._tmp_path_factory.getbasetemp())  # type: ignore[attr-defined]


@pytest.fixture(params=[16, 18], ids=["pg16", "pg18"])
def pg(request: pytest.FixtureRequest) -> RealServer:
    """Each of the two major versions that every machine has (from the wheel)."""
    if request.param not in available_majors():
        pytest.skip(f"PostgreSQL {request.param} is not on this machine")
    return server_of(request.param)


@pytest.fixture
def pg16() -> RealServer:
    return server_of(16)


@pytest.fixture
def pg18() -> RealServer:
    return server_of(18)


@pytest.fixture
def database(pg: RealServer) -> Iterator[str]:
    """A fresh database on each major version; see `connection`."""
    with pg.database() as name:
        yield name


@pytest.fixture
def connection(pg: RealServer, database: str) -> Iterator[psycopg.Connection]:
    with pg.connect(database) as opened:
        yield opened
