"""Stop a job that still writes, by a command of the user's, and start it again the same way.

One person, no approval, reversible: the state found before is recorded, and `release` runs the way back, with
a few workers first where the operator named steps.
A command is looked at before and after by the user's own `--look` command, where there is one.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace

from backout.errors import NeighbourUnreachable
from backout.ports.run import Run

RAMPING = "ramping"


@dataclass(frozen=True, slots=True)
class Containment:
    """A job that the incident holds, or held."""

    name: str
    state: str
    """`contained`, `ramping` (some of its workers run again) or `released`."""
    stop: tuple[str, ...]
    start: tuple[str, ...]
    look: tuple[str, ...]
    found: str
    """What `look` said before."""
    now: str
    """What `look` says after."""
    workers: tuple[int, ...] = ()
    """Workers of each step of the release; empty = all at once."""
    running: int = 0
    """Workers that were started again, where there are steps."""

    @property
    def progress(self) -> str:
        """`1 of 16 workers`; empty unless some of them run again and some do not."""
        return f"{self.running} of {max(self.workers)} workers" if self.state == RAMPING else ""

    @property
    def step(self) -> int:
        """How many workers the next release starts; 0 = there are no steps."""
        return next((count for count in self.workers if count > self.running), 0)


@dataclass(frozen=True, slots=True)
class Job:
    """What the operator named: the commands of one job."""

    name: str
    stop: tuple[str, ...]
    start: tuple[str, ...]
    look: tuple[str, ...] = ()
    workers: tuple[int, ...] = ()


WORKERS = "{workers}"
"""Stands in the way back for the number of workers of a step."""


def contain(run: Run, job: Job) -> Containment:
    """Run the stop command once and look at the job before and after."""
    held = Containment(job.name, "contained", job.stop, job.start, job.look, "", "", job.workers)
    return run.step("act", Containment, lambda _: _change(held, job.stop))


def release(run: Run, held: Containment, *, whole: bool) -> Containment:
    """Run the way back: the next step of it, or (`whole`) the last one."""
    running = max(held.workers) if whole and held.workers else held.step
    over = running == max(held.workers, default=0)
    after = replace(held, state="released" if over else RAMPING, running=running)
    start = tuple(word.replace(WORKERS, str(running)) for word in held.start)
    return run.step("act", Containment, lambda _: _change(after, start))


def _change(after: Containment, command: tuple[str, ...]) -> Containment:
    found = _look(after)
    _command(f"{after.name} is not {after.state}", command)
    return replace(after, found=found, now=_look(after))


def _look(job: Containment) -> str:
    if not job.look:
        return "not looked at: no --look command"
    return _command(f"{job.name} cannot be looked at", job.look)


def _command(wrong: str, command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command, no shell
            list(command), capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _failed(wrong, command[0], type(error).__name__) from None
    if done.returncode != 0:
        raise _failed(wrong, command[0], f"it ended with {done.returncode}")
    return done.stdout.strip()[-200:]


def _failed(wrong: str, program: str, why: str) -> NeighbourUnreachable:
    return NeighbourUnreachable(
        f"{wrong}: {program}: {why}",
        where=program,
        intact="the database; the job was left as the command left it",
        next="mend the command, then type it again",
    )
