"""Real PostgreSQL servers for tests: one a version and session, one database a test."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import psycopg
from psycopg import sql

from backout.postgres import servers
from backout.postgres.binaries import installations


def free_port() -> int:
    """A TCP port below the ephemeral range, free right now (ephemeral ones collide now and then)."""
    for candidate in range(20000 + int(token_hex(2), 16) % 8000, 32000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return candidate
    raise RuntimeError("no free port below 32000")


def available_majors() -> tuple[int, ...]:
    """Major versions whose server programs are on this machine, ascending."""
    return tuple(sorted({b.major for b in installations()}))


@dataclass(frozen=True, slots=True)
class RealServer:
    """A running private server; superuser `postgres`, reachable over its socket and 127.0.0.1."""

    layout: servers.Layout

    @property
    def major(self) -> int:
        return self.layout.binaries.major

    @property
    def port(self) -> int:
        return self.layout.port

    def dsn(self, database: str = "postgres", user: str = "postgres", password: str = "") -> str:
        """URL over TCP, as an application would use it."""
        secret = f":{password}" if password else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres", **kwargs: str) -> psycopg.Connection:
        """An autocommit superuser connection."""
        return psycopg.connect(self.layout.conninfo(database, **kwargs), autocommit=True)

    @contextmanager
    def database(self, owner: str | None = None) -> Iterator[str]:
        """A fresh database, dropped (with its sessions) at the end; `owner` must exist as a role."""
        name = f"t_{token_hex(5)}"
        with self.connect() as admin:
            statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
            if owner is not None:
                statement += sql.SQL(" OWNER {}").format(sql.Identifier(owner))
            admin.execute(statement)
        try:
            yield name
        finally:
            with self.connect() as admin:
                admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def start_server(
    major: int,
    *,
    hba: str = "",
    settings: dict[str, str] | None = None,
    files: dict[str, bytes] | None = None,
) -> RealServer:
    """Start a server of this major. `hba` replaces pg_hba.conf; `files` are written (mode 0600) into the
    data directory before the start, e.g. certificates for `ssl=on`."""
    binaries = next(b for b in installations() if b.major == major)
    base = servers.private_directory("bk")
    chosen = {"max_connections": "60", "shared_buffers": "32MB", **(settings or {})}
    layout = servers.Layout(
        servers.reachable(binaries), base / "d", base / "s", free_port(), "postgres", True, chosen
    )
    servers.create(layout)
    for name, content in (files or {}).items():
        path = layout.data / name
        path.write_bytes(content)
        path.chmod(0o600)
        servers.give(path)
    if hba:
        (layout.data / "pg_hba.conf").write_text("local all postgres trust\n" + hba)
    servers.start(layout)
    return RealServer(layout)


def stop_server(server: RealServer) -> None:
    """Stop a server of `start_server` and remove its files."""
    base = server.layout.data.parent
    servers.destroy(server.layout)
    subprocess.run(["rm", "-rf", str(base)], check=False)  # noqa: S603, S607


def has_tls(major: int) -> bool:
    """Whether the programs of this major were built with TLS (Debian's are, the wheel's are not)."""
    binaries = next(b for b in installations() if b.major == major)
    config = Path(binaries.program("pg_config"))
    if not config.exists():
        return False
    shown = subprocess.run([str(config), "--configure"], capture_output=True, text=True, check=False)  # noqa: S603
    return "--with-openssl" in shown.stdout or "--with-ssl" in shown.stdout
