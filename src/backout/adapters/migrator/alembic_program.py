"""Find the project's own Alembic and ask its version."""

from __future__ import annotations

import functools
import os
import re
import shutil
from pathlib import Path

from backout.adapters.migrator import child
from backout.errors import NeighbourUnreachable
from backout.ports.migrator import ToolEnvironment

PASSED = ("PYTHON*", "VIRTUAL_ENV", "UV_*", "POETRY_*", "CONDA_*", "PIPENV_*")


def find(project: Path) -> str:
    """The `alembic` program of the project; raises `NeighbourUnreachable` without one."""
    places = [project / ".venv", project / "venv", Path(os.environ.get("VIRTUAL_ENV", "/nowhere"))]
    for program in (place / "bin" / "alembic" for place in places):
        if os.access(program, os.X_OK):
            return str(program)
    found = shutil.which("alembic")
    if found is None:
        raise NeighbourUnreachable(
            "Alembic was not found in the project's .venv, in VIRTUAL_ENV or on PATH",
            where=str(project),
            intact="everything; nothing was started",
            next='set migrations.command, e.g. ["uv", "run", "alembic"], then: backout doctor',
        )
    return found


@functools.lru_cache(maxsize=8)
def version(command: tuple[str, ...], project: Path, passed: tuple[str, ...]) -> str:
    """`alembic X.Y.Z`, asked once a process; raises `NeighbourUnreachable` when it is not Alembic."""
    environment = child.environment_of(ToolEnvironment({}), (*PASSED, *passed))
    done = child.run([*command, "--version"], directory=project, environment=environment, deadline=60)
    found = re.search(r"^alembic (\S+)", done.output, re.MULTILINE)
    if found is None:
        last = (done.output.strip().splitlines() or ["no output"])[-1]
        raise NeighbourUnreachable(
            f"`{' '.join(command)} --version` did not answer as Alembic does: {last[:200]}",
            where=str(project),
            intact="everything",
            next="correct migrations.command, then: backout doctor",
        )
    return f"alembic {found.group(1)}"
