"""One scratch state directory for all stories of a session: its server is started once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from backout.adapters.servers.local import LocalServers
from backout.testing.servers import RealServer, available_majors, has_tls, start_server, stop_server
from tests.story import harness


@pytest.fixture(scope="session")
def shared_scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    state = tmp_path_factory.mktemp("state")
    yield state
    servers = LocalServers(state)
    for scratch in servers.running():
        servers.destroy(scratch)


TLS_ONLY = "hostssl all all 127.0.0.1/32 scram-sha-256\nhostnossl all all 127.0.0.1/32 reject\n"


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def _demanding_tls(authority: trustme.CA) -> Iterator[RealServer]:
    major = next((m for m in available_majors() if has_tls(m)), None)
    if major is None:
        pytest.skip("no PostgreSQL with TLS on this machine: apt-get install postgresql")
    issued = authority.issue_cert("localhost")
    files = {
        "server.crt": issued.cert_chain_pems[0].bytes(),
        "server.key": issued.private_key_pem.bytes(),
    }
    server = start_server(major, hba=TLS_ONLY, settings={"ssl": "on"}, files=files)
    try:
        yield server
    finally:
        stop_server(server)


@pytest.fixture(scope="session")
def tls_server(authority: trustme.CA) -> Iterator[RealServer]:
    """A production that lets nobody in without TLS; has contrib's extensions."""
    with _demanding_tls(authority) as server:
        yield server


@pytest.fixture(scope="session")
def own_scratch(authority: trustme.CA) -> Iterator[RealServer]:
    """A scratch server that the user brings: the same version, TLS only, `copier` may make databases."""
    with _demanding_tls(authority) as server:
        with server.connect() as admin:
            admin.execute("CREATE ROLE copier LOGIN PASSWORD 'x' CREATEDB CREATEROLE")
        yield server


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
