"""Start and stop private PostgreSQL servers: isolated, throw-away, never reachable from outside."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from backout.errors import NeighbourUnreachable
from backout.postgres.binaries import Binaries

# A copy must not reach the world: it would archive over production's WAL, or take over the slot of a
# subscription (both measured). So these come before the first start of anything we run.
ISOLATION: Mapping[str, str] = {
    "archive_mode": "off",
    "primary_conninfo": "",
    "max_logical_replication_workers": "0",
    "synchronous_standby_names": "",
    "shared_preload_libraries": "",
    "cluster_name": "backout-scratch",
}
# Speed for data that is thrown away. Never for an instance that may become production.
THROW_AWAY: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "max_wal_size": "2GB",
    "shared_buffers": "64MB",
    "maintenance_work_mem": "128MB",
}
_SERVICE_USERS = ("backout", "postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Launcher:
    """Stands before a server program so that it starts in a network namespace of its own."""

    prefix: tuple[str, ...]
    drops_root: bool
    """True when the prefix itself changes from root to the service user."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where one private server lives; the socket directory is short (107-byte limit of sockets)."""

    binaries: Binaries
    data: Path
    socket_directory: Path
    port: int
    user: str = "backout"
    tcp: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    launcher: Launcher | None = None
    """What cuts the server off the network; None = it sees the network of this machine."""
    listen: str = ""
    """Addresses for TCP, as in `listen_addresses`; empty = 127.0.0.1 with `tcp`, else none."""

    @property
    def addresses(self) -> str:
        """Where it listens besides its private socket; empty = nowhere."""
        return self.listen or ("127.0.0.1" if self.tcp else "")

    def conninfo(self, database: str, **more: str) -> str:
        """libpq connection string over the private socket (peer of ours, no password)."""
        parts = {"host": str(self.socket_directory), "port": str(self.port), "user": self.user}
        parts |= {"dbname": database, **more}
        return " ".join(f"{name}='{_quoted(value)}'" for name, value in parts.items())


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def service_user() -> str | None:
    """The unprivileged account that runs servers when we are root (PostgreSQL refuses root), else None.

    Raises `NeighbourUnreachable` when root has no such account to use.
    """
    if os.geteuid() != 0:
        return None
    for name in _SERVICE_USERS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise NeighbourUnreachable(
        "PostgreSQL refuses to run as root and no unprivileged account was found",
        where="this machine",
        intact="everything",
        next="useradd --system backout, then the same command again",
    )


def private_directory(prefix: str) -> Path:
    """A short private directory that the service user may enter."""
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    give(directory)
    return directory


def give(path: Path) -> None:
    """Hand a file or directory to the service user when we are root."""
    user = service_user()
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


_INHERITED = ("PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")


def _environment() -> dict[str, str]:
    """What a server needs of our environment. Not the connection string of the production, which code on a
    copy could read and use; nor PG* variables, which would point client programs at another server."""
    return {k: v for k, v in os.environ.items() if k in _INHERITED or k.startswith("LC_")}


def run_program(
    arguments: list[str], *, timeout: float = 120, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a server program as the unprivileged user; output captured, never raises on its exit code."""
    user = service_user()
    clean = _environment() | dict(environment or {})
    if user is None:
        return subprocess.run(  # noqa: S603
            arguments, capture_output=True, text=True, timeout=timeout, env=clean, check=False
        )
    entry = pwd.getpwnam(user)
    return subprocess.run(  # noqa: S603
        arguments,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=clean | {"HOME": "/tmp"},  # noqa: S108
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
        cwd="/",
        check=False,
    )


def _launch(
    launcher: Launcher | None, arguments: list[str], *, timeout: float
) -> subprocess.CompletedProcess[str]:
    if launcher is None:
        return run_program(arguments, timeout=timeout)
    whole = [*launcher.prefix, *arguments]
    if not launcher.drops_root:
        return run_program(whole, timeout=timeout)
    clean = _environment() | {"HOME": "/tmp"}  # noqa: S108
    return subprocess.run(  # noqa: S603
        whole, capture_output=True, text=True, timeout=timeout, env=clean, cwd="/", check=False
    )


@cache
def find_launcher() -> Launcher | None:
    """The way to start a program without a network that works on this machine, tried with `true`.

    A user namespace needs no right where the system allows it; root can do without one. Sockets in the
    file system still work across network namespaces, so we reach the server and it reaches nobody.
    """
    plain = Launcher(("unshare", "--user", "--map-current-user", "--net", "--"), drops_root=False)
    candidates = [plain]
    user = service_user()
    if user is not None:
        entry = pwd.getpwnam(user)
        become = ("setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", "--")
        candidates.append(Launcher(("unshare", "--net", "--", *become), drops_root=True))
    for launcher in candidates:
        try:
            if _launch(launcher, ["true"], timeout=10).returncode == 0:
                return launcher
        except (OSError, subprocess.SubprocessError):
            continue
    return None


def reachable(binaries: Binaries) -> Binaries:
    """An installation that the service user can execute.

    A wheel below /root (mode 700) cannot be entered by another account, so its files (and the sibling
    `.libs` directory, which a relative rpath needs) are copied once to a place it can reach.
    """
    if service_user() is None or binaries.origin != "wheel" or _enterable(binaries.directory):
        return binaries
    package = binaries.directory.parent.parent
    base = Path("/var/tmp") / f"backout-pg-{os.stat(package).st_ino}-{binaries.version}"  # noqa: S108, PTH116
    if not (base / ".complete").exists():
        partial = Path(tempfile.mkdtemp(prefix="backout-pg-", dir="/var/tmp"))
        partial.chmod(0o755)
        for source in (package, package.with_name(package.name + ".libs")):
            if source.exists():
                shutil.copytree(source, partial / source.name, symlinks=True)
        (partial / ".complete").touch()
        try:
            partial.rename(base)
        except OSError:  # another process was first
            shutil.rmtree(partial, ignore_errors=True)
    inner = base / package.name / binaries.directory.parent.name / "bin"
    return Binaries(inner, binaries.major, binaries.version, binaries.origin)


def _enterable(path: Path) -> bool:
    return all((p.stat().st_mode & 0o005) == 0o005 for p in (path, *path.parents))


def create(layout: Layout, *, encoding: str = "UTF8", locale: str = "C") -> None:
    """initdb with trust over the private socket only, plus isolation settings; idempotent."""
    if (layout.data / "PG_VERSION").exists():
        return
    layout.data.parent.mkdir(parents=True, exist_ok=True)
    layout.data.mkdir(mode=0o700, exist_ok=True)
    give(layout.data)
    made = run_program(
        [
            layout.binaries.program("initdb"),
            f"--pgdata={layout.data}",
            f"--username={layout.user}",
            f"--encoding={encoding}",
            f"--locale={locale}",
            "--auth=trust",
            "--no-instructions",
            "--no-sync",
        ]
    )
    if made.returncode != 0:
        raise NeighbourUnreachable(
            f"initdb failed: {made.stderr.strip().splitlines()[-1] if made.stderr.strip() else 'no output'}",
            where=str(layout.data),
            intact="everything; no server was made",
            next="backout doctor",
        )
    with (layout.data / "postgresql.auto.conf").open("a") as conf:
        conf.write(as_configuration({**ISOLATION, **THROW_AWAY, **layout.settings}))


def as_configuration(settings: Mapping[str, str]) -> str:
    """Settings as the text of a configuration file, one line each."""
    lines = (f"{name} = '{_quoted(value)}'".replace("\n", "\\n") for name, value in settings.items())
    return "".join(f"{line}\n" for line in lines)


def start(layout: Layout, *, timeout: float = 60) -> None:
    """Start the server and wait until it answers; a running one is left alone."""
    if is_running(layout):
        return
    before = _size(log_of(layout))
    done = _pg_ctl_start(layout, ("-w", f"-t{int(timeout)}"), timeout + 10)
    if done.returncode != 0 or not is_running(layout):
        raise NeighbourUnreachable(
            f"the private server did not start: {_said_since(layout, before) or done.stderr.strip()}",
            where=str(layout.data),
            intact="everything; no copy was made",
            next="backout doctor",
        )


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _said_since(layout: Layout, before: int) -> str:
    """The last lines of its log from byte `before` on; what an earlier start said explains nothing now."""
    log = log_of(layout)
    if not log.exists():
        return ""
    with log.open("rb") as lines:
        lines.seek(before)
        return " / ".join(lines.read().decode(errors="replace").splitlines()[-3:])


def launch(layout: Layout) -> None:
    """Start the server and do not wait: it may replay WAL for hours, and only its log says how that ends."""
    _pg_ctl_start(layout, ("-W",), 60)


def log_of(layout: Layout) -> Path:
    """Where a server writes what it has to say."""
    return layout.data / "server.log"


def _pg_ctl_start(
    layout: Layout, waiting: tuple[str, ...], timeout: float
) -> subprocess.CompletedProcess[str]:
    layout.socket_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    give(layout.socket_directory)
    return _launch(layout.launcher, _start_arguments(layout, waiting), timeout=timeout)


def _start_arguments(layout: Layout, waiting: tuple[str, ...]) -> list[str]:
    options = f"-c listen_addresses='{layout.addresses}' -c port={layout.port} "
    options += f"-c unix_socket_directories='{layout.socket_directory}'"
    pg_ctl = [layout.binaries.program("pg_ctl"), "start", "-s", *waiting]
    return [*pg_ctl, f"-D{layout.data}", f"-l{log_of(layout)}", f"-o{options}"]


def start_command(layout: Layout) -> str:
    """The shell command that starts this server by hand, for the account that asks; also after a reboot,
    which may have taken its socket directory away."""
    start = shlex.join(_start_arguments(layout, ("-w",)))
    line = f"cd / && mkdir -p -m 700 {shlex.quote(str(layout.socket_directory))} && {start}"
    user = service_user()
    return line if user is None else f"runuser -u {user} -- sh -c {shlex.quote(line)}"


def is_running(layout: Layout) -> bool:
    """Whether a postmaster of this data directory lives (asked from pg_ctl, not from the pid file)."""
    if not (layout.data / "postmaster.pid").exists():
        return False
    return run_program([layout.binaries.program("pg_ctl"), "status", f"-D{layout.data}"]).returncode == 0


def stop(layout: Layout, *, mode: str = "immediate") -> None:
    """Stop the server; `immediate` for throw-away data, `fast` for an orderly end. Idempotent."""
    run_program([layout.binaries.program("pg_ctl"), "stop", "-w", "-s", f"-m{mode}", f"-D{layout.data}"])


def destroy(layout: Layout) -> None:
    """Stop the server and remove its files; raises `NeighbourUnreachable` when something is left."""
    stop(layout)
    if is_running(layout):  # never pull the files from under a process that goes on
        raise NeighbourUnreachable(
            "a private server does not stop",
            where=str(layout.data),
            intact="its files",
            next="backout copies",
        )
    shutil.rmtree(layout.data, ignore_errors=True)
    shutil.rmtree(layout.socket_directory, ignore_errors=True)
    if layout.data.exists():
        raise NeighbourUnreachable(
            "files of a private server could not be removed",
            where=str(layout.data),
            intact="everything else; the server is stopped",
            next=f"rm -r {layout.data}, then: backout copies",
        )
