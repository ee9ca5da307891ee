"""The production database of the demo: an embedded PostgreSQL whose role owns its schema and nothing else."""

from __future__ import annotations

import hashlib
import secrets
import shlex
import shutil
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from backout.demo.place import Place
from backout.demo.world import control
from backout.errors import NeighbourUnreachable
from backout.postgres import servers
from backout.postgres.binaries import Binaries, installations
from backout.postgres.connect import Session, open_session

ROLE = "heroes"
BACKUP_ROLE = "heroes_backup"
DATABASE = "heroes"
_PREFERRED = ("wheel", 16)
# What is private and thrown away elsewhere is production here: it must not lose what it acknowledged.
_SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "autovacuum": "on",
    "cluster_name": "heroes-production",
    "max_connections": "60",
    "timezone": "UTC",
}
# For a night on which traffic moves: a guard's slot, the slots of the cutover, and a walsender for each.
_LOGICAL = {"wal_level": "logical", "max_replication_slots": "10", "max_wal_senders": "10"}
_HBA = "local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
_HBA_BACKUP = f"host replication {BACKUP_ROLE} 127.0.0.1/32 scram-sha-256\n"


@dataclass(frozen=True, slots=True)
class Production:
    """The server and how the application reaches it. The password is never shown or logged."""

    data: str
    sockets: str
    port: int
    http_port: int
    bin_directory: str
    password: str
    archive: str = ""
    """Where its WAL is archived, if it is."""
    backup_password: str = ""
    new_port: int = 0
    """Where a restored instance would serve; 0 on a night on which traffic does not move."""

    @property
    def layout(self) -> servers.Layout:
        """The server as the PostgreSQL room starts it."""
        directory = Path(self.bin_directory)
        known = next((b for b in installations() if b.directory == directory), None)
        return servers.Layout(
            known or Binaries(directory, 0, "", "wheel"),
            *(Path(self.data), Path(self.sockets), self.port, "postgres", True),
            _SETTINGS
            | (_archiving(self.archive) if self.archive else {})
            | (_LOGICAL if self.new_port else {}),
        )

    @property
    def store(self) -> Path:
        """Where its base backups lie, beside the archive."""
        return Path(self.archive).with_name("backups")

    @property
    def url(self) -> str:
        """Connection string of the application, the ETL and the migration tool."""
        return self._url(ROLE, self.password)

    @property
    def backup_url(self) -> str:
        """Connection string of the role that takes base backups and dumps."""
        return self._url(BACKUP_ROLE, self.backup_password)

    def _url(self, role: str, password: str) -> str:
        return self.url_at(f"127.0.0.1:{self.port}", role, password)

    def url_at(self, hosts: str, role: str = ROLE, password: str = "") -> str:
        """Connection string to another place: `host:port`, or several of them with commas."""
        return f"postgresql://{role}:{password or self.password}@{hosts}/{DATABASE}?sslmode=disable"

    def administer(self, database: str = "postgres") -> Session:
        """A session of the administrator, who set this server up on a calm day."""
        return open_session(self.layout.conninfo(database), "demo-setup")

    def session(self, port: int = 0) -> Session:
        """A session of the application's role; `port` where a restored instance serves instead."""
        return open_session(self.url_at(f"127.0.0.1:{port or self.port}"), "demo-reckoning")


def _archiving(directory: str) -> dict[str, str]:
    """As the manual of PostgreSQL shows it: a segment is never written over."""
    to = f"{shlex.quote(directory)}/%f"
    return {"archive_mode": "on", "archive_command": f"test ! -f {to} && cp %p {to}"}


def start(place: Place, *, archives: bool = False, moves: bool = False) -> Production:
    """The server of the last demo, else a new one; running and reachable on 127.0.0.1.

    `moves`: traffic can be moved away from it.
    """
    record = control.read(place.root / "production.json")
    found = Production(**record) if record else None
    if found is None or not Path(found.data, "PG_VERSION").exists():
        found = _make(place, archives=archives, moves=moves)
    servers.start(found.layout)
    return found


def _make(place: Place, *, archives: bool, moves: bool) -> Production:
    binaries = servers.reachable(_binaries())
    port, http_port, new_port = free_ports(3)
    sockets = servers.private_directory("bk-demo-")
    data = _data_directory(place)
    made = Production(
        data=str(data),
        sockets=str(sockets),
        port=port,
        http_port=http_port,
        bin_directory=str(binaries.directory),
        password=secrets.token_urlsafe(18),
        archive=str(data.parent / "archive") if archives else "",
        backup_password=secrets.token_urlsafe(18) if archives else "",
        new_port=new_port if moves else 0,
    )
    shutil.rmtree(made.data, ignore_errors=True)
    if archives:
        forget_backups(made)
    servers.create(made.layout)
    servers.run_program([binaries.program("pg_checksums"), "--enable", f"--pgdata={made.data}"])
    (Path(made.data) / "pg_hba.conf").write_text(_HBA + (_HBA_BACKUP if archives else ""))
    record = place.root / "production.json"
    record.touch(mode=0o600)
    control.write(record, asdict(made))
    record.chmod(0o600)
    return made


def _binaries() -> Binaries:
    """PostgreSQL 16 of the wheel, else the newest there is."""
    there = installations()
    if not there:
        raise NeighbourUnreachable(
            "no PostgreSQL server programs on this machine",
            where="this machine",
            intact="everything",
            next="pip install 'backout[demo]', then: backout demo",
        )
    return max(there, key=lambda b: ((b.origin, b.major) == _PREFERRED, b.major))


def _data_directory(place: Place) -> Path:
    """Beside the rest of the demo where the account that runs the server may go, else in /var/tmp."""
    own = place.root / "postgres"
    own.mkdir(mode=0o755, exist_ok=True)
    servers.give(own)
    if servers.run_program(["test", "-w", str(own)]).returncode == 0:
        return own / "data"
    name = hashlib.sha256(str(place.root).encode()).hexdigest()[:12]
    return Path("/var/tmp") / f"backout-demo-{name}" / "data"  # noqa: S108 - made for the service user, 0700


def free_ports(count: int) -> list[int]:
    """TCP ports below the ephemeral range, which collides now and then."""
    found: list[int] = []
    start = 21000 + secrets.randbelow(9000)
    for port in range(start, 32700):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise NeighbourUnreachable(
        "no free TCP port between 21000 and 32700",
        where="127.0.0.1",
        intact="everything",
        next="free a port, then: backout demo",
    )


def fresh_database(production: Production) -> None:
    """An empty database, as an administrator hands it to a team: the schemas are theirs, nothing else is."""
    with production.administer() as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        if admin.execute("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %s", (ROLE,)).fetchone() is None:
            admin.execute(f"CREATE ROLE {ROLE} LOGIN")
        admin.execute(f"ALTER ROLE {ROLE} PASSWORD '{production.password}'")
        admin.execute(f"CREATE DATABASE {DATABASE}")
        if production.new_port:
            _let_traffic_move(admin)
    with production.administer(DATABASE) as admin:
        admin.execute(f"ALTER SCHEMA public OWNER TO {ROLE}")
        for schema in ("backout", "backout_kept"):  # the script that `backout doctor` prints, run once
            admin.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {ROLE}")
        if production.archive:
            _make_backup_role(admin, production)


def _let_traffic_move(admin: Session) -> None:
    """What the page of restore and cutover asks for: the team owns its database (the fence is a limit of it,
    the guard publishes in it), and its role may make slots and end sessions."""
    admin.execute(f"ALTER DATABASE {DATABASE} OWNER TO {ROLE}")
    admin.execute(f"ALTER ROLE {ROLE} REPLICATION")
    admin.execute(f"GRANT pg_signal_backend TO {ROLE}")


def _make_backup_role(admin: Session, production: Production) -> None:
    """What the page of base backups asks for: REPLICATION, the switch of WAL, and to read for dumps."""
    known = admin.execute("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %s", (BACKUP_ROLE,)).fetchone()
    if known is None:
        admin.execute(f"CREATE ROLE {BACKUP_ROLE} LOGIN REPLICATION")
    admin.execute(f"ALTER ROLE {BACKUP_ROLE} PASSWORD '{production.backup_password}'")
    admin.execute(f"GRANT pg_read_all_data TO {BACKUP_ROLE}")
    admin.execute(f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO {BACKUP_ROLE}")
    if production.new_port:  # it makes the guard's slot and restore point, and gets over the fence to go back
        admin.execute(f"ALTER ROLE {BACKUP_ROLE} SUPERUSER")


def forget_backups(production: Production) -> None:
    """An empty archive and no base backup: those of a world that is gone help nobody."""
    archive = Path(production.archive)
    shutil.rmtree(production.store, ignore_errors=True)
    shutil.rmtree(archive, ignore_errors=True)
    archive.mkdir(mode=0o700, parents=True)
    servers.give(archive)


def stop(production: Production) -> None:
    """An orderly end; the files stay for the next demo."""
    servers.stop(production.layout, mode="fast")
