"""How the application reaches its database: straight, through a pooler, or by a list of both hosts."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psycopg

from backout.demo.place import Place
from backout.demo.world import control
from backout.demo.world.processes import Processes
from backout.demo.world.production import DATABASE, ROLE, Production, free_ports
from backout.errors import NeighbourUnreachable
from backout.postgres import servers

POOLER, LIST = "pgbouncer", "multi-host"
_KEEPER = "keeper"
"""Who may say PAUSE to the pooler."""
_PATIENCE_SECONDS = 15.0

_INI = """\
[databases]
{database} = host=127.0.0.1 port={port} dbname={database}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
admin_users = {keeper}
pool_mode = transaction
min_pool_size = 0
query_wait_timeout = 60
server_login_retry = 1
"""

_TOML = """\
[target.{target}.traffic]
lever = "{lever}"
application = {{ file = "database-url" }}
through = {{ file = "application-url" }}
port = {port}
proof = "5s"
{more}
"""
_CONSOLE = """\
admin = {{ file = "console-url" }}
ini = "{ini}"
entry = "{entry}"
"""


@dataclass(frozen=True, slots=True)
class Entrance:
    """One way in. `lever` is what moves it elsewhere; empty where nothing does."""

    lever: str
    url: str = field(repr=False)
    """Connection string of application and ETL."""
    console_url: str = field(default="", repr=False)
    ini: str = ""
    """The configuration of the pooler, where there is one."""

    def side(self) -> int:
        """Port of the server that answers here now."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=10) as session:
            row = session.execute("SELECT pg_catalog.inet_server_port()").fetchone()
        assert row is not None
        return int(row[0])


def find(place: Place, production: Production) -> Entrance:
    """The way in of the last demo; straight, where none was made."""
    record = control.read(_record(place))
    return Entrance(**record) if record else Entrance("", production.url)


def make(place: Place, production: Production) -> Entrance:
    """A new way in, which leads to `production`: straight where traffic does not move; else through the
    pooler where this machine has one, else by the list."""
    if not production.new_port:
        return Entrance("", production.url)
    made = _pooled(production) if shutil.which(POOLER) else _listed(production)
    record = _record(place)
    record.touch(mode=0o600)
    control.write(record, asdict(made))
    record.chmod(0o600)
    return made


def _record(place: Place) -> Path:
    return place.root / "entrance.json"


def _listed(production: Production) -> Entrance:
    """The new side first: libpq does not go on past a host that is fenced."""
    both = f"127.0.0.1:{production.new_port},127.0.0.1:{production.port}"
    return Entrance(LIST, f"{production.url_at(both)}&target_session_attrs=read-write")


def _pooled(production: Production) -> Entrance:
    """Beside the server's files, where the account that runs servers may go: the pooler refuses root too."""
    (own_port,) = free_ports(1)
    word = secrets.token_urlsafe(18)
    directory = Path(production.data).with_name("pooler")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    ini, users = directory / "pgbouncer.ini", directory / "users.txt"
    text = _INI.format(
        database=DATABASE, port=production.port, own_port=own_port, users=users, keeper=_KEEPER
    )
    for file, content in (
        (ini, text),
        (users, f'"{ROLE}" "{production.password}"\n"{_KEEPER}" "{word}"\n'),
    ):
        file.touch(mode=0o600)
        file.write_text(content)
        servers.give(file)
    servers.give(directory)
    here = f"127.0.0.1:{own_port}"
    console = f"postgresql://{_KEEPER}:{word}@{here}/pgbouncer?sslmode=disable"
    return Entrance(POOLER, production.url_at(here), console, str(ini))


def settings(entrance: Entrance, production: Production, target: str) -> str:
    """How traffic is moved, as backout.toml says it."""
    more = _CONSOLE.format(ini=entrance.ini, entry=DATABASE) if entrance.lever == POOLER else ""
    return _TOML.format(target=target, lever=entrance.lever, port=production.new_port, more=more)


def start(entrance: Entrance, processes: Processes, place: Place) -> None:
    """Start the pooler, where there is one, unless it still runs. Raises `NeighbourUnreachable`."""
    if entrance.lever != POOLER:
        return
    program = shutil.which(POOLER)
    if program and not processes.lives(POOLER):
        account = servers.service_user() or ""
        processes.start(POOLER, [program, entrance.ini], {"PATH": "/usr/bin:/bin"}, account)
    if not control.wait_until(lambda: _answers(entrance), _PATIENCE_SECONDS):
        raise NeighbourUnreachable(
            "the pooler of the demo does not answer"
            if program
            else "PgBouncer is not on this machine any more",
            where=str(processes.log(POOLER)),
            intact="everything",
            next=place.command("--fresh"),
        )


def _answers(entrance: Entrance) -> bool:
    try:
        return entrance.side() > 0
    except psycopg.Error:
        return False
