"""Productions with a WAL archive, of each major version that this machine has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.physical.world import Production, Productions, production

MAJORS = (15, 16, 18)


class Shared(Productions):
    """Each test finds its production without tables, backups and instances."""

    def of(self, major: int) -> Production:
        made = super().of(major)
        made.clear()
        return made


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
