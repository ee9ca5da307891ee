"""Find in the git history what the worktree no longer has, and who wrote it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT = 20.0
# Nothing of the repository's configuration may run a program or reach a network while we only read.
_QUIET = (
    "--no-pager",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.quotePath=false",
    "-c",
    "log.showSignature=false",
)
_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-renames", "--relative")


@dataclass(frozen=True, slots=True)
class Kept:
    """A file as one commit still had it; `path` is relative to the project."""

    path: str
    commit: str
    author: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A commit whose message names a migration file with a line `MIGRATION: <file>`."""

    commit: str
    author: str
    at: str
    subject: str


def _git(directory: Path, *arguments: str) -> bytes | None:
    """Output of a reading git command, or None when git, the repository or the object is not there."""
    passed = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG") or k.startswith("LC_")}
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - a fixed reading command
            ["git", *_QUIET, *arguments],  # noqa: S607
            cwd=directory,
            env=passed | quiet,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def readable(project: Path) -> bool:
    """Whether the project lies in a git repository that we may read."""
    return _git(project, "rev-parse", "--git-dir") is not None


def find(project: Path, patterns: Sequence[str], containing: str = "") -> tuple[Kept, ...]:
    """The newest version of every file that matches one of the patterns, in any branch or the reflog.

    `containing` keeps to files that once held this text.
    `patterns` are git path patterns seen from `project`. A deleted file is taken from the parent of the
    commit that deleted it, otherwise from the newest commit that wrote it.
    """
    log = _git(
        project,
        *("log", "--all", "--reflog", "--diff-filter=ADM", "--name-status", "--format=%x01%H%x02%an <%ae>"),
        *((f"-S{containing}",) if containing else ()),
        *(*_PLAIN, "--", *patterns),
    )
    newest: dict[str, tuple[str, str, str]] = {}
    for commit, author, status, path in _entries((log or b"").decode("utf-8", "replace")):
        newest.setdefault(path, (commit, author, status))
    found = (_read(project, path, *entry) for path, entry in newest.items())
    return tuple(sorted((kept for kept in found if kept is not None), key=lambda kept: kept.path))


def commits(kept: Sequence[Kept], paths: Sequence[str]) -> tuple[str, ...]:
    """For each of these paths the commit that still has it."""
    by_path = {one.path: one.commit for one in kept}
    return tuple(by_path[path] for path in paths)


def _entries(log: str) -> list[tuple[str, str, str, str]]:
    entries = []
    for block in log.split("\x01")[1:]:
        head, *lines = block.splitlines()
        commit, _, author = head.partition("\x02")
        for line in lines:
            status, tab, path = line.partition("\t")
            if tab:
                entries.append((commit, author, status, path))
    return entries


def _read(project: Path, path: str, commit: str, author: str, status: str) -> Kept | None:
    revision = f"{commit}^" if status == "D" else commit
    resolved = _git(project, "rev-parse", "--verify", f"{revision}^{{commit}}")
    if resolved is None:
        return None
    holder = resolved.decode().strip()
    content = _git(project, "show", *_PLAIN[:2], f"{holder}:./{path}")
    if status == "D":
        author = _writer(project, holder, path) or author
    return None if content is None else Kept(path, holder, author, content)


def _writer(project: Path, commit: str, path: str) -> str:
    """Who last wrote the file; the commit that deleted it was perhaps somebody else's."""
    seen = _git(project, "log", "-1", "--format=%an <%ae>", commit, "--", path)
    return (seen or b"").decode("utf-8", "replace").strip()


def authors(project: Path, directory: Path) -> Mapping[str, str]:
    """Who added each file below `directory`, by file name: one git process for all of them."""
    log = _git(
        project,
        *(
            "log",
            "--diff-filter=A",
            "--name-status",
            "--format=%x01%H%x02%an <%ae>",
            *_PLAIN,
            "--",
            str(directory),
        ),
    )
    found: dict[str, str] = {}
    for _, author, _, path in _entries((log or b"").decode("utf-8", "replace")):
        found.setdefault(Path(path).name, author)
    return found


def notes(project: Path, file_name: str) -> tuple[Note, ...]:
    """Commits, newest first, whose message has a line `MIGRATION: <file>` naming this file."""
    log = _git(
        project,
        *(
            "log",
            "--all",
            "--fixed-strings",
            f"--grep={file_name}",
            "--format=%x01%H%x02%an <%ae>%x02%aI%x02%s%x02%B",
        ),
    )
    found = []
    for block in (log or b"").decode("utf-8", "replace").split("\x01")[1:]:
        commit, author, at, subject, body = block.split("\x02", 4)
        if any(_names(line, file_name) for line in body.splitlines()):
            found.append(Note(commit, author, at, subject))
    return tuple(found)


def _names(line: str, file_name: str) -> bool:
    key, colon, value = line.partition(":")
    stem = file_name.partition(".")[0]
    return (
        bool(colon)
        and key.strip().upper() == "MIGRATION"
        and Path(value.strip()).name.partition(".")[0] == stem
    )
