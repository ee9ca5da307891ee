"""Run PostgreSQL's client programs: the connection in their environment, every end looked at."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg
from psycopg import pq

from backout.errors import ConfigurationError

_POLL_SECONDS = 0.1
_IGNORED = frozenset({"fallback_application_name", "replication", "options"})


@dataclass(frozen=True, slots=True)
class Ended:
    """How a client program ended. `message` is its last error line, without the program's name."""

    exit_code: int
    message: str
    seconds: float

    @property
    def died(self) -> str:
        """`died (signal 9)` or `ended with 1`."""
        return f"died (signal {-self.exit_code})" if self.exit_code < 0 else f"ended with {self.exit_code}"


@contextmanager
def connection_environment(
    dsn: str, application_name: str, settings: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Environment in which a client program connects as `dsn` says, with these settings in its session.

    What libpq has no variable for goes through a private service file, removed at the end.
    """
    parts = _options(dsn)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    environment |= {"LC_ALL": "C", "PGCONNECT_TIMEOUT": "10", "PGTZ": "UTC"}
    environment |= {variable: value for variable, value in parts.values() if variable}
    environment["PGAPPNAME"] = application_name
    given = parts.get("options", ("", ""))[1]
    environment["PGOPTIONS"] = " ".join(
        [given, *(f"-c {name}={_escape(value)}" for name, value in settings.items())]
    ).strip()
    rest = {name: value for name, (variable, value) in parts.items() if not variable and name not in _IGNORED}
    if not rest:
        yield environment
        return
    with tempfile.TemporaryDirectory(prefix="backout-") as private:
        file = Path(private) / "service.conf"
        file.touch(mode=0o600)
        file.write_text("[backout]\n" + "".join(f"{name}={value}\n" for name, value in rest.items()))
        yield environment | {"PGSERVICEFILE": str(file), "PGSERVICE": "backout"}


def _options(dsn: str) -> dict[str, tuple[str, str]]:
    """Keyword -> (environment variable or empty, value) of everything that the connection string sets."""
    try:
        parsed = pq.Conninfo.parse(dsn.encode())
    except psycopg.OperationalError:
        raise ConfigurationError(
            "the connection string cannot be parsed (its text is not shown: it may hold a password)",
            where="the DSN of the target",
            intact="everything; nobody was connected to",
            next="correct it, then: backout doctor",
        ) from None
    return {
        option.keyword.decode(): ((option.envvar or b"").decode(), option.val.decode())
        for option in parsed
        if option.val
    }


def _escape(value: str) -> str:
    """A value inside PGOPTIONS: blanks and backslashes are escaped by a backslash."""
    return "".join(f"\\{char}" if char in " \\" else char for char in value)


def run_client(
    arguments: list[str],
    environment: Mapping[str, str],
    *,
    watch: Callable[[], None] | None = None,
    started: Callable[[int], None] | None = None,
) -> Ended:
    """Run a client program to its end; `watch` is called several times a second and may raise to end it.

    `started` gets the process id. The child never outlives this call.
    """
    begun = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(  # noqa: S603 - a program of an installation we found, no shell
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=dict(environment),
        )
        try:
            if started is not None:
                started(child.pid)
            _follow(child, watch)
        finally:
            end(child)
        return Ended(child.returncode, _last_error(errors), time.monotonic() - begun)


def _follow(child: subprocess.Popen[bytes], watch: Callable[[], None] | None) -> None:
    while True:
        try:
            child.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if watch is not None:
                watch()
            continue
        return


def end(child: subprocess.Popen[bytes]) -> None:
    """Ask a child to end, then make it; a no-op for one that has ended."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


@contextmanager
def reading(arguments: list[str], environment: Mapping[str, str]) -> Iterator[Reading]:
    """Run a client program and read what it prints; look at `ended` after the stream's end."""
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(  # noqa: S603 - a program of an installation we found, no shell
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=dict(environment),
            bufsize=0,
        )
        assert child.stdout is not None
        try:
            yield Reading(child, child.stdout, errors, time.monotonic())
        finally:
            child.stdout.close()
            end(child)


@dataclass(frozen=True, slots=True)
class Reading:
    """A running client program and its output."""

    child: subprocess.Popen[bytes]
    stream: IO[bytes]
    errors: IO[bytes]
    begun: float

    def ended(self) -> Ended:
        """Read on to the end of the stream and wait for the program's end."""
        while self.stream.read(1 << 20):
            pass
        self.child.wait()
        return Ended(self.child.returncode, _last_error(self.errors), time.monotonic() - self.begun)


def _last_error(errors: IO[bytes]) -> str:
    """The first line that says `error:`, or the last line; clients add notes behind their error."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - 65536))
    lines = [line.strip() for line in errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
    told = [line for line in lines if "error:" in line.lower()] or lines[-1:]
    return told[0].split(": ", 1)[-1].removeprefix("error: ") if told else "no reason given"
