"""Productions with a WAL archive, of each major version that this machine has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from backout.testing.servers import available_majors
from tests.physical.world import Production, production

MAJORS = (15, 16, 18)


class Shared:
    """One production a version for all tests; each test finds it without tables, backups and instances."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._running: dict[int, Production] = {}

    def of(self, major: int) -> Production:
        if major not in available_majors():
            pytest.skip(f"PostgreSQL {major} is not on this machine")
        if major not in self._running:
            self._running[major] = self._stack.enter_context(production(major))
        self._running[major].clear()
        return self._running[major]


@pytest.fixture(scope="session")
def shared() -> Iterator[Shared]:
    with ExitStack() as stack:
        yield Shared(stack)


@pytest.fixture(params=MAJORS, ids=[f"pg{major}" for major in MAJORS])
def source(request: pytest.FixtureRequest, shared: Shared) -> Production:
    return shared.of(request.param)


@pytest.fixture
def source16(shared: Shared) -> Production:
    """For what does not depend on the version."""
    return shared.of(16)


@pytest.fixture
def alone16() -> Iterator[Production]:
    """For tests that damage the archive or change the server."""
    with production(16) as world:
        yield world
