"""Which ways back are worth a rehearsal, from static facts alone; pure."""

from __future__ import annotations

import shlex

from backout.model.migration import DownKind, FoundIn, MigrationFile
from backout.model.plan import Plan, Strategy
from backout.model.triage import Triage
from backout.phases.strategy import halfway

_NO_DOWN = (DownKind.MISSING, DownKind.REFUSED)


def decide(found: Triage) -> tuple[Plan, ...]:
    """Plans to rehearse. An inferred or empty down is rehearsed too: only running it tells."""
    ways_out = halfway.plans(found)
    positions = [row.position for row in found.history.rows if row.name in found.offending]
    if found.partly_applied or why_not(found) or not positions:
        return ways_out
    return (Plan(Strategy.A, found.offending, min(positions) - 1), *ways_out)


def why_not(found: Triage) -> str:
    """Why no down can be rehearsed, in words; empty when one can."""
    for file in found.files:
        if file.found_in is not FoundIn.WORKTREE:
            return _where(file)
        if file.down is DownKind.MISSING:
            return f"{file.name} has no down"
        if file.down is DownKind.REFUSED:
            return f"the author of {file.name} declared it irreversible"
    return ""


def put_back(found: Triage, project: str) -> str:
    """The command line that writes back what only the git history has, for any directory it is typed in;
    empty when nothing is there or something is nowhere."""
    gone = [file for file in found.files if file.found_in is not FoundIn.WORKTREE]
    if any(file.found_in is not FoundIn.GIT_HISTORY for file in gone):
        return ""
    return " && ".join(
        _write_back(project, path, commit)
        for file in gone
        for path, commit in zip(file.paths, file.origins, strict=True)
    )


def _write_back(project: str, path: str, commit: str) -> str:
    place = f"{project}/{path}"
    folder = shlex.quote(place.rpartition("/")[0])
    shown = f"git -C {shlex.quote(project)} show {shlex.quote(f'{commit}:./{path}')}"
    return f"mkdir -p {folder} && {shown} > {shlex.quote(place)}"


def _where(file: MigrationFile) -> str:
    """The file is not on disk (the image was rolled back): where it was found, and how to put it back."""
    if file.found_in is FoundIn.GIT_HISTORY and file.paths:
        return f"{file.name} is only in the git history, in commit {file.origin[:12]}: put it back first"
    return f"the file of {file.name} is nowhere: not on disk and not in the git history"
