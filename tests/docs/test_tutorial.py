"""The tutorial's commands, typed in their order against a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backout.adapters.servers.local import LocalServers
from backout.testing.servers import RealServer
from tests.docs.texts import DOCS

PAGE = DOCS / "tutorial" / "first-rescue.md"
PROMISED = "postgresql://shop@127.0.0.1:54330/shop"


def commands() -> str:
    """Every block of the page that is meant to be typed."""
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """Where the tutorial is typed; its scratch server is stopped at the end."""
    yield tmp_path
    servers = LocalServers(tmp_path / "shop" / "state")
    for scratch in (*servers.running(), *servers.stopped()):
        servers.destroy(scratch)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
@pytest.mark.skipif(shutil.which("psql") is None, reason="needs psql")
def test_the_tutorial_rescues_every_value(pg16: RealServer, project: Path):
    with pg16.connect() as admin:
        if admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'shop'").fetchone() is None:
            admin.execute("CREATE ROLE shop LOGIN PASSWORD 'x'")
    with pg16.database("shop") as database:
        script = commands()
        assert script.count(PROMISED) == 1
        script = script.replace(PROMISED, pg16.dsn(database, "shop", "x"))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ("sh", "-eu", "-c", script),
            cwd=project,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "destroyed 201 values, kept 201, lost 0" in done.stdout
    assert "written 201" in done.stdout
    assert "is stopped: no process and no file of it is left" in done.stdout
    assert not list((project / "shop" / "state" / "copies").glob("*/server.json"))
    assert list((project / "shop" / "postmortem").glob("*.html"))
