"""The terminal: results to stdout, progress and errors to stderr, one document with --json."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from backout.errors import BackoutError
from backout.model.journal import Entry
from backout.render.layout import State, Style, style_for

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
TargetOption = Annotated[
    str | None,
    typer.Option("--target", "-t", help="Which target of backout.toml; needed when there are several."),
]
SignerKeyOption = Annotated[Path | None, typer.Option("--key", help="Private key file; else the ssh-agent.")]
SignatureOption = Annotated[
    Path | None, typer.Option("--signature", help="A signature made by ssh-keygen -Y sign.")
]
ConfirmOption = Annotated[
    str | None, typer.Option("--confirm", help="The target's name, where nobody can be asked.")
]
ConfigOption = Annotated[
    str | None,
    typer.Option("--config", "-c", help="The configuration file; default: the nearest backout.toml."),
]
ActorOption = Annotated[
    str | None, typer.Option("--by", help="Who acts; default: $BACKOUT_ACTOR, else the account's name.")
]


@dataclass(slots=True)
class _Chosen:
    """What the options before the verb chose."""

    color: str = "auto"
    ascii: bool = False
    quiet: bool = False


chosen = _Chosen()


def style(stream: str = "stdout") -> Style:
    """How to print on this stream: width, characters, colour."""
    handle = sys.stdout if stream == "stdout" else sys.stderr
    columns = shutil.get_terminal_size((80, 24)).columns
    return style_for(handle.isatty(), os.environ, columns, chosen.color, chosen.ascii)


def emit(result: object, screen: Callable[[Style], str], *, as_json: bool, exit_code: int = 0) -> NoReturn:
    """Print a result once, as JSON or as a screen, and leave with its exit code."""
    if as_json:
        from backout.records import codec

        document = {"exit": exit_code, **codec.plain(result)}
        print(json.dumps(document, ensure_ascii=False))  # noqa: T201
    else:
        print(screen(style()))  # noqa: T201
    sys.stdout.flush()
    raise typer.Exit(exit_code)


def say(text: str) -> None:
    """One line of progress, on stderr."""
    if not chosen.quiet:
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def fail(error: BackoutError, *, as_json: bool) -> int:
    """Print an error in its four parts; return its exit code."""
    from backout.render.errors import render_error

    if as_json:
        document = {
            "exit": error.exit_code,
            "error": type(error).__name__,
            "what": error.what,
            "where": error.where,
            "intact": error.intact,
            "next": error.next,
        }
        print(json.dumps(document, ensure_ascii=False))  # noqa: T201
    else:
        print(render_error(error, style("stderr")), file=sys.stderr)  # noqa: T201
    return error.exit_code


class TerminalTeller:
    """Progress of a story on stderr; also hands notices to the configured channels."""

    def __init__(self, deliver: Callable[[str, str, Entry], None]) -> None:
        self._deliver = deliver
        self._begun: dict[str, float] = {}

    def progress(self, text: str) -> None:
        say(f"    {text}")

    def step_begins(self, key: str, attempt: int) -> None:
        self._begun[key] = time.monotonic()
        again = f" (attempt {attempt})" if attempt > 1 else ""
        say(f"  {_mark(State.RUNNING)} {key}{again}")

    def step_ends(self, key: str, outcome: str, seconds: float) -> None:
        took = time.monotonic() - self._begun.pop(key, time.monotonic())
        mark = State.PASS if outcome == "done" else State.FAIL
        detail = "" if outcome == "done" else f": {outcome}"
        say(f"  {_mark(mark)} {key}{detail}  {took:.1f} s")

    def notice(self, text: str, audience: str, head: Entry) -> None:
        say(f"    told {audience}: {text.strip().splitlines()[0]}")
        self._deliver(text, audience, head)


def _mark(state: State) -> str:
    return style("stderr").symbol(state)


@contextmanager
def stop_on_interrupt(ask: Callable[[], None]) -> Iterator[None]:
    """First Ctrl-C: stop before the next effect. A second one within 3 s: leave at once; resume looks."""
    last = [0.0]

    def handler(_number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - last[0] < 3.0:
            raise KeyboardInterrupt
        last[0] = now
        ask()
        say("stopping before the next effect; Ctrl-C again within 3 s leaves at once (resume looks first)")

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def ask_line(question: str, flag: str) -> str:
    """A line from the person at the terminal; off a terminal: exit 4 with the flag to pass."""
    from backout.errors import Waiting

    if not sys.stdin.isatty():
        raise Waiting(
            question,
            where="the command line: nobody can be asked here",
            intact="everything; nothing was signed",
            next=f"pass {flag}",
        )
    print(f"{question} ", end="", file=sys.stderr, flush=True)  # noqa: T201
    return sys.stdin.readline().strip()


def confirm_target(target: str, given: str | None) -> None:
    """The target's name, typed or given; raises `ConfigurationError` for any other."""
    from backout.errors import ConfigurationError

    question = f"Type the target's name ({target}):"
    typed = given if given is not None else ask_line(question, f"--confirm {target}")
    if typed != target:
        raise ConfigurationError(
            f"{typed!r} is not the target's name; nothing was written",
            where=target,
            intact="everything",
            next=f"--confirm {target}",
        )
