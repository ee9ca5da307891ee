"""A HAProxy of our own, with one server `db` of the backend `app`."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backout.postgres import servers
from backout.postgres.dead_man import Console
from backout.testing.servers import free_port
from tests.cutover.sides import CLERK, SECRET, Sides

CFG = """global
    stats socket {socket} mode 600 level {level}
    maxconn 200

defaults
    mode tcp
    timeout connect 2s
    timeout client 1m
    timeout server 1m

frontend shop
    bind 127.0.0.1:{port}
    default_backend app

backend app
    # the shop
    option tcp-check
    server db 127.0.0.1:{old} check inter 200 maxconn 100
"""


@dataclass
class Balancer:
    directory: Path
    port: int
    database: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def cfg(self) -> Path:
        return self.directory / "haproxy.cfg"

    @property
    def socket(self) -> str:
        return str(self.directory / "api.sock")

    @property
    def options(self) -> dict[str, Any]:
        names = {"backend": "app", "server": "db", "database": self.database}
        return {"cfg": str(self.cfg), "socket": self.socket, **names}

    def dsn(self) -> str:
        return f"postgresql://{CLERK}:{SECRET}@127.0.0.1:{self.port}/{self.database}"

    def start(self) -> None:
        with (self.directory / "haproxy.log").open("ab") as log:
            self.process = subprocess.Popen(["haproxy", "-db", "-f", str(self.cfg)], stdout=log, stderr=log)
        for _ in range(200):
            if self.process.poll() is None and Path(self.socket).exists():
                return
            time.sleep(0.05)
        raise RuntimeError((self.directory / "haproxy.log").read_text())

    def leads_to(self) -> str | None:
        address = {"host": self.socket, "port": 0}
        (row,) = Console(address).ask("show servers state app")
        return row["srv_port"]

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            Path(self.socket).unlink(missing_ok=True)


@contextmanager
def balancer(sides: Sides, *, level: str = "admin") -> Iterator[Balancer]:
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not on this machine: apt-get install haproxy")
    directory = servers.private_directory("bkha")
    made = Balancer(directory, free_port(), sides.database)
    made.cfg.write_text(CFG.format(socket=made.socket, level=level, port=made.port, old=sides.old.port))
    made.start()
    try:
        yield made
    finally:
        made.kill()
        shutil.rmtree(directory, ignore_errors=True)
