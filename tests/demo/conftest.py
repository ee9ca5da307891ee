"""One server of the demo's own making a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backout.demo.place import Place
from backout.demo.world import production
from backout.demo.world.production import Production
from tests.demo import typed, worlds


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("a demo with a space") / "demo").make()


@pytest.fixture(scope="session")
def server(place: Place) -> Iterator[Production]:
    made = production.start(place)
    yield made
    worlds.remove(made)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Place]:
    """A place of one test's own, for a demo that is typed; whatever runs there is ended with it."""
    found = Place(tmp_path / "demo")
    yield found
    for where in (found, *(Place(found.root / name) for name in ("second", "destructive", "restore"))):
        typed.clear(where)


@pytest.fixture
def calm(server: Production) -> Production:
    """The world of a calm day, before the migration."""
    worlds.populate(server)
    return server
