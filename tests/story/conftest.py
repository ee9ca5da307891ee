"""One scratch state directory for all stories of a session: its server is started once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def _project(
    server: RealServer, root: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[harness.World]:
    """A project whose journal is its own and whose scratch servers are shared."""
    (root / "state").mkdir()
    (scratch / "copies").mkdir(exist_ok=True)
    (root / "state" / "copies").symlink_to(scratch / "copies")
    with harness.world(server, root, monkeypatch) as made:
        yield made


@pytest.fixture
def heroes(
    pg: RealServer, tmp_path: Path, shared_scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[harness.World]:
    """On each major version that every machine has."""
    with _project(pg, tmp_path, shared_scratch, monkeypatch) as made:
        yield made


@pytest.fixture
def heroes16(
    pg16: RealServer, tmp_path: Path, shared_scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[harness.World]:
    """On one version, for what does not depend on the server: journal, messages, cuts."""
    with _project(pg16, tmp_path, shared_scratch, monkeypatch) as made:
        yield made
