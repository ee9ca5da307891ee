"""Scratch servers on this machine: recorded before they are made, so that none is ever left unseen."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from secrets import token_hex

from filelock import FileLock, Timeout

from backout.errors import NeighbourUnreachable, Refused, Stopped
from backout.postgres import servers
from backout.postgres.binaries import Binaries, installations

# Throw-away tuning on top of the one of `servers`: nothing of a copy has to survive a crash of the machine.
_SETTINGS = {
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "max_locks_per_transaction": "256",
    "lc_messages": "C",
}
# Only the service user (and root) can enter the private socket directory, so the login itself asks nothing:
# a rehearsal must be able to come in as any role of the source. No line for any network.
HBA = "local all all trust\n"
PORT = 5432
_SUPERUSER = "backout_scratch"  # a name that no role of a source has
_LOCK_PATIENCE_SECONDS = 120
_RECORD = "server.json"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One line of the registry: a scratch server that is being made (`ready` false) or was made."""

    name: str
    bin_directory: str
    data: str
    sockets: str
    ready: bool
    cut_off: bool
    boot_id: str
    """Boot of the machine in which it was last started: data without fsync does not outlive it."""
    role: str = _SUPERUSER
    """Superuser to come in as; a restored instance has those of its source only."""
    port: int = PORT
    """Of its private socket, and of TCP when it listens."""
    listens: str = ""
    """Addresses where a restored instance serves others, as in `listen_addresses`; empty = isolated."""


class Registry:
    """The scratch servers below one directory, one folder each with its record."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Only one process starts or destroys servers; raises `Stopped` when another one is at it."""
        self._directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        held = FileLock(self._directory / ".lock", timeout=_LOCK_PATIENCE_SECONDS)
        try:
            held.acquire()
        except Timeout:
            raise Stopped(
                "another backout command has been starting a scratch server for two minutes",
                where=str(self._directory),
                intact="everything",
                next="wait for it, or end it, then the same command again",
            ) from None
        try:
            yield
        finally:
            held.release()

    def records(self) -> tuple[Recorded, ...]:
        """All records, also of servers that are half made or no longer run."""
        found = (self.find(path.parent.name) for path in sorted(self._directory.glob(f"*/{_RECORD}")))
        return tuple(record for record in found if record is not None)

    def ensure(self, name: str, binaries: Binaries) -> servers.Layout:
        """Start the server `name`, or make it first; call with the lock held. Idempotent."""
        record = self.find(name)
        if record is not None and not _usable(record):
            self.remove(record)
            record = None
        if record is None:
            record = self._make(name, servers.reachable(binaries))
        layout = layout_of(record)
        if not servers.is_running(layout):
            self._write(replace(record, boot_id=_boot_id()))
            servers.start(layout)
        return layout

    def _make(self, name: str, binaries: Binaries) -> Recorded:
        record = self.announce(name, binaries)
        layout = layout_of(record)
        servers.create(layout)
        (layout.data / "pg_hba.conf").write_text(HBA)
        return self.finish(record)

    def announce(self, name: str, binaries: Binaries, role: str = _SUPERUSER) -> Recorded:
        """Record a server before anything of it is there, and make its private socket directory."""
        launcher = servers.find_launcher()
        record = Recorded(
            name,
            str(binaries.directory),
            str(self._data_directory(name)),
            f"/tmp/bk-{token_hex(6)}",  # noqa: S108 - a socket path has at most 107 bytes; made exclusively
            ready=False,
            cut_off=launcher is not None,
            boot_id=_boot_id(),
            role=role,
        )
        self._write(record)
        Path(record.sockets).mkdir(mode=0o700)
        servers.give(Path(record.sockets))
        return record

    def finish(self, record: Recorded) -> Recorded:
        """Record that a server is whole."""
        ready = replace(record, ready=True)
        self._write(ready)
        return ready

    def listen(self, record: Recorded, listens: str, port: int = PORT) -> Recorded:
        """Record where a server listens from its next start on; empty `listens` = it is isolated again."""
        changed = replace(record, listens=listens, port=port)
        self._write(changed)
        return changed

    def _data_directory(self, name: str) -> Path:
        """In the registry when the service user can get there, else in a fresh place in /var/tmp."""
        own = self._directory / name
        own.mkdir(mode=0o711, exist_ok=True)
        if servers.service_user() is None or _passable(own):
            return own / "data"
        return Path("/var/tmp") / f"backout-{token_hex(8)}" / "data"  # noqa: S108 - recorded, then made

    def remove(self, record: Recorded) -> None:
        """Stop the server, remove its files, then its record; raises when something is left.

        Raises `Refused` for one that serves others, before it is touched.
        """
        _refuse_serving(record)
        layout = layout_of(record)
        if layout.data.exists():
            servers.destroy(layout)
        if not layout.data.is_relative_to(self._directory):
            shutil.rmtree(layout.data.parent, ignore_errors=True)
        shutil.rmtree(record.sockets, ignore_errors=True)
        left = [path for path in (record.data, record.sockets) if Path(path).exists()]
        if left:
            raise NeighbourUnreachable(
                "files of a scratch server could not be removed",
                where=", ".join(left),
                intact="everything else",
                next=f"rm -r {' '.join(left)}, then: backout copies",
            )
        with suppress(FileNotFoundError):  # another process removed the same record meanwhile
            shutil.rmtree(self._directory / record.name)

    def find(self, name: str) -> Recorded | None:
        """The record of this name; None when there is none that can be read."""
        try:
            return Recorded(**json.loads((self._directory / name / _RECORD).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, record: Recorded) -> None:
        folder = self._directory / record.name
        folder.mkdir(mode=0o711, exist_ok=True)
        partial = folder / f"{_RECORD}.part"
        partial.write_text(json.dumps(asdict(record), indent=1))
        partial.replace(folder / _RECORD)


def _refuse_serving(record: Recorded) -> None:
    if record.listens:
        raise Refused(
            f"{record.name} serves others on port {record.port}: it may be the production by now",
            where=record.data,
            intact="the instance and everything in it; it goes on serving",
            next="leave it, or stop it with pg_ctl and remove it by hand once nobody needs it",
        )


def layout_of(record: Recorded) -> servers.Layout:
    """How the recorded server is started and reached; one that serves sees the network of this machine."""
    launcher = servers.find_launcher() if record.cut_off and not record.listens else None
    return servers.Layout(
        _binaries_of(record),
        Path(record.data),
        Path(record.sockets),
        record.port,
        record.role,
        settings=_SETTINGS,
        launcher=launcher,
        listen=record.listens,
    )


def _binaries_of(record: Recorded) -> Binaries:
    """The recorded programs; when they are gone, others of the same major, so that it can be stopped."""
    major, origin = record.name.removeprefix("pg").split("-", 1)
    directory = Path(record.bin_directory)
    if not (directory / "pg_ctl").exists():
        for binaries in installations():
            if binaries.major == int(major):
                return servers.reachable(binaries)
    return Binaries(directory, int(major), major, origin)


def name_of(binaries: Binaries) -> str:
    """Name of the scratch server that runs these programs, e.g. `pg16-wheel`."""
    return f"pg{binaries.major}-{binaries.origin}"


def give_way(layout: servers.Layout) -> None:
    """Best effort: under memory or CPU pressure our copy gives way, never the production beside it."""
    with suppress(OSError, ValueError, IndexError):
        pid = int((layout.data / "postmaster.pid").read_text().splitlines()[0])
        os.setpriority(os.PRIO_PROCESS, pid, 10)
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")


def _usable(record: Recorded) -> bool:
    """Whether this server can be started again: wholly made, programs there, no reboot without a shutdown."""
    if not record.ready or not (Path(record.bin_directory) / "postgres").exists():
        return False
    layout = layout_of(record)
    if servers.is_running(layout):
        return True
    return record.boot_id == _boot_id() or not (layout.data / "postmaster.pid").exists()


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _passable(path: Path) -> bool:
    """Whether the service user may walk down to this folder."""
    user = servers.service_user()
    assert user is not None
    uid = pwd.getpwnam(user).pw_uid
    for part in (path, *path.parents):
        seen = part.stat()
        if not (seen.st_mode & 0o001 or (seen.st_uid == uid and seen.st_mode & 0o100)):
            return False
    return True
