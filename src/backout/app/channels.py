"""Hand notices to the configured channels; a channel that fails is reported and never blocks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence

from backout.app.compose import Application
from backout.model.journal import Entry

_COMMAND_SECONDS = 10.0
"""A channel that has not taken a notice by then is left alone."""


def send(app: Application, text: str, audience: str, head: Entry) -> tuple[str, ...]:
    """Deliver one notice; returns what went wrong, a line per channel. The journal's head goes with it:
    seen outside, it shows later whether the journal was cut or rewritten."""
    heading = f"[{head.at}] ({audience}) {head.incident}"
    notice = f"{heading}\n{text.rstrip()}\njournal {head.seq} {head.hash[:16]}\n"
    problems = (*_to_file(app, notice), *_to_command(app, notice, audience, head.incident))
    app.journal.anchor(head.incident)
    return problems


def _to_file(app: Application, notice: str) -> Iterator[str]:
    file = app.settings.channels.file
    if file is None:
        return
    path = app.config_path.parent / file
    try:
        with path.open("a", encoding="utf-8") as out:
            out.write(f"{notice}\n")
    except OSError as error:
        yield f"{path} was not written: {error.strerror}; the notice is in the journal"


def _to_command(app: Application, notice: str, audience: str, incident: str) -> Iterator[str]:
    command = app.settings.channels.command
    if not command:
        return
    about = {"BACKOUT_INCIDENT": incident, "BACKOUT_AUDIENCE": audience}
    why = _run(command, notice, {**os.environ, **about}, str(app.config_path.parent))
    if why:
        yield f"{command[0]} {why}; the notice is in the journal"


def _run(command: Sequence[str], notice: str, environment: dict[str, str], directory: str) -> str:
    """Its output is nobody's: it may hold a channel's secret."""
    try:
        subprocess.run(  # noqa: S603 - the program that the user configured
            command,
            input=notice.encode(),
            env=environment,
            cwd=directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_COMMAND_SECONDS,
            check=True,
        )
    except FileNotFoundError:
        return "was not found"
    except OSError as error:
        return f"could not be started: {error.strerror}"
    except subprocess.CalledProcessError as error:
        return f"ended with {error.returncode}"
    except subprocess.TimeoutExpired:
        return f"took longer than {_COMMAND_SECONDS:.0f} s and was ended"
    return ""
