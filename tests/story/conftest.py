"""One scratch state directory for all stories of a session: its server is started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backout.adapters.servers.local import LocalServers
from backout.testing.servers import RealServer
from tests.story import harness


@pytest.fixture(scope="session")
def shared_scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    state = tmp_path_factory.mktemp("state")
    yield state
    servers = LocalServers(state)
    for scratch in servers.running():
        servers.destroy(scratch)


@pytest.fixture
def heroes(
    pg: RealServer, tmp_path: Path, shared_scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[harness.World]:
    """A project whose journal is its own and whose scratch servers are shared."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "copies").symlink_to(shared_scratch / "copies")
    (shared_scratch / "copies").mkdir(exist_ok=True)
    with harness.world(pg, tmp_path, monkeypatch) as made:
        yield made
