"""Poolers are known by what they do; in front of a shared backend nothing is pinned."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from backout.postgres import servers
from backout.postgres.pooling import find_pooler
from backout.testing.servers import RealServer, free_port
from tests.readiness.world import Place


@contextmanager
def pgbouncer(server: RealServer, mode: str, role: str) -> Iterator[int]:
    """A PgBouncer in front of the server, of this mode; skips, saying so, when it is not installed."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("pgbouncer is not installed (apt-get install pgbouncer): no pooler was tried")
    directory, port = servers.private_directory("bkpool"), free_port()
    (directory / "users.txt").write_text(f'"{role}" ""\n')
    (directory / "pool.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr=127.0.0.1\n"
        f"listen_port={port}\nauth_type=trust\nauth_file={directory}/users.txt\npool_mode={mode}\n"
        f"unix_socket_dir=\nlogfile={directory}/log\npidfile={directory}/pid\ndefault_pool_size=3\n"
    )
    for path in directory.iterdir():
        servers.give(path)
    user = servers.service_user()
    account = ["-u", user] if user else []
    running = subprocess.Popen(
        [program, "-q", *account, str(directory / "pool.ini")], stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port, role)
        yield port
    finally:
        running.terminate()
        running.wait(10)
        shutil.rmtree(directory)


def _wait_for(port: int, role: str) -> None:
    for _ in range(100):
        try:
            psycopg.connect(host="127.0.0.1", port=port, user=role, dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("pgbouncer did not start")


def test_a_direct_connection_and_a_socket_are_direct(here: Place):
    assert find_pooler(here.url()) == ""
    assert find_pooler(here.server.layout.conninfo(here.database)) == ""


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_shared_backend_is_found_and_nothing_is_left_on_it(here: Place, mode: str):
    with pgbouncer(here.server, mode, here.role) as port:
        url = f"postgresql://{here.role}@127.0.0.1:{port}/{here.database}"
        assert find_pooler(url) != ""
        here.type("init")
        here.monkeypatch.setenv("DATABASE_URL", url)
        done = here.type("doctor", "--json")
        assert (done.exit_code, done.states["direct"]) == (2, "fail")
        shown = here.type("doctor")
        assert "point DATABASE_URL at the server itself" in shown.err
        with psycopg.connect(url, autocommit=True) as application:
            for _ in range(5):
                assert application.execute("SHOW search_path", prepare=False).fetchone() != ("pg_catalog",)


def test_a_session_pooler_passes(here: Place):
    with pgbouncer(here.server, "session", here.role) as port:
        here.type("init")
        here.monkeypatch.setenv("DATABASE_URL", f"postgresql://{here.role}@127.0.0.1:{port}/{here.database}")
        assert here.type("doctor", "--json").states["direct"] == "pass"


def test_a_busy_pool_is_found_too(here: Place):
    with pgbouncer(here.server, "transaction", here.role) as port:
        url = f"postgresql://{here.role}@127.0.0.1:{port}/{here.database}"
        with psycopg.connect(url) as busy:  # keeps one of the backends in a transaction
            busy.execute("SELECT 1")
            assert find_pooler(url) != ""


def test_every_verb_refuses_it(here: Place):
    with pgbouncer(here.server, "transaction", here.role) as port:
        here.type("init")
        here.monkeypatch.setenv("DATABASE_URL", f"postgresql://{here.role}@127.0.0.1:{port}/{here.database}")
        done = here.type("open", "--last", "1")
        assert done.exit_code == 2, done.err
        assert "leads through a pooler in transaction mode" in done.err
        assert Path(here.project / "backout.toml").exists()
