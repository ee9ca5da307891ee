"""Stop a job that still writes, by a command of the user's, and start it again the same way.

One person, no approval, reversible: the state found before is recorded, and `release` runs the way back.
A command is looked at before and after by the user's own `--look` command, where there is one.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from backout.errors import NeighbourUnreachable
from backout.ports.run import Attempt, Run


@dataclass(frozen=True, slots=True)
class Containment:
    """A job that the incident holds, or held."""

    name: str
    state: str
    """`contained` or `released`."""
    stop: tuple[str, ...]
    start: tuple[str, ...]
    look: tuple[str, ...]
    found: str
    """What `look` said before."""
    now: str
    """What `look` says after."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the operator named: the commands of one job."""

    name: str
    stop: tuple[str, ...]
    start: tuple[str, ...]
    look: tuple[str, ...] = ()


def contain(run: Run, job: Job) -> Containment:
    """Run the stop command once and look at the job before and after."""
    return run.step("act", Containment, lambda attempt: _change(job, "contained", job.stop, attempt))


def release(run: Run, held: Containment) -> Containment:
    """Run the way back."""
    job = Job(held.name, held.stop, held.start, held.look)
    return run.step("act", Containment, lambda attempt: _change(job, "released", job.start, attempt))


def _change(job: Job, state: str, command: tuple[str, ...], _attempt: Attempt) -> Containment:
    found = _look(job)
    _command(job.name, command)
    return Containment(job.name, state, job.stop, job.start, job.look, found, _look(job))


def _look(job: Job) -> str:
    return _command(job.name, job.look) if job.look else "not looked at: no --look command"


def _command(name: str, command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command, no shell
            list(command), capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _failed(name, command[0], type(error).__name__) from None
    if done.returncode != 0:
        raise _failed(name, command[0], f"it ended with {done.returncode}")
    return done.stdout.strip()[-200:]


def _failed(name: str, program: str, why: str) -> NeighbourUnreachable:
    return NeighbourUnreachable(
        f"{name} is not stopped: {program}: {why}",
        where=program,
        intact="the database; the job was left as the command left it",
        next="mend the command, then type it again",
    )
