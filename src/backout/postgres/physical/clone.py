"""Copy a stopped data directory: shared blocks where the file system can, else bytes; say which."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from backout.errors import Stopped
from backout.postgres import servers
from backout.postgres.physical.blocks import shares_blocks

_WORDS = {
    "always": "cloning the data directory: the file system shares its blocks (reflink)",
    "never": "copying the data directory byte by byte: the file system shares no blocks here",
}


def clone(source: Path, goal: Path, tell: Callable[[str], None] = lambda _: None) -> str:
    """Copy a data directory with owners, modes and links; returns `reflink` or `copy`, and tells before it.

    Whether blocks can be shared is tried on one small file of it. Never `--reflink=auto`: it copies in
    silence where they cannot. Raises `Stopped` when the disk does not take it; nothing is left then.
    """
    shares = shares_blocks(source / "PG_VERSION", goal.parent)
    for how in ("always", "never") if shares else ("never",):
        tell(_WORDS[how])
        done = subprocess.run(  # noqa: S603 - a program of the system, no shell
            ["cp", "-a", f"--reflink={how}", str(source), str(goal)],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
        if done.returncode == 0:
            return "reflink" if how == "always" else "copy"
        shutil.rmtree(goal, ignore_errors=True)
    raise Stopped(
        f"{source.name} could not be copied: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}",
        where=str(goal),
        intact="the source and the backup; the half made copy was removed",
        next="free some space there, then: backout resume",
    )


def give_tree(directory: Path) -> None:
    """Hand a directory with everything in it to the account that runs servers, when we are root."""
    user = servers.service_user()
    if user is None:
        return
    entry = pwd.getpwnam(user)
    for folder, _, files in os.walk(directory):
        for name in ("", *files):
            os.chown(Path(folder) / name, entry.pw_uid, entry.pw_gid, follow_symlinks=False)


def require_space(directory: Path, need_bytes: int, reserve_bytes: int) -> None:
    """Raise `Stopped` with the numbers when a copy of this size does not fit beside the reserve."""
    place = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free - reserve_bytes < need_bytes:
        keep = f", of which {reserve_bytes} stay free" if reserve_bytes else ""
        raise Stopped(
            f"the copy needs {need_bytes} bytes, {free} are free{keep}",
            where=str(place),
            intact="everything; nothing was copied",
            next="free some space there (or set BACKOUT_STATE to another disk), then: backout resume",
        )
