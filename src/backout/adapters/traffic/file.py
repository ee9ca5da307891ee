"""A file that holds the connection string, and a command that restarts the instances that read it.

The slowest lever, and the one that everybody has. It cannot hold writes: where there is a command that puts
the application into read-only mode (or scales its writers to zero), that is the hold; else the fence cuts
the clients. The pause is what the restart of these instances takes, never a pooler's figure.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from backout.adapters.traffic import beside, options
from backout.errors import ConfigurationError, NeighbourUnreachable, Stopped
from backout.model.check import Check, CheckState
from backout.model.cutover import Price, Promise, Warrant
from backout.ports.traffic import Act, Address, Hold, Led, Link, Traffic, TrafficCapabilities
from backout.postgres.dead_man import spend

_URL = re.compile(r"postgres(?:ql)?://[^\s\"']+")
_MINUTES = 600.0


@dataclass(frozen=True, slots=True)
class Commands:
    """The user's own, each a list of words and no shell; empty where there is none."""

    restart: tuple[str, ...]
    stop_writes: tuple[str, ...] = ()
    allow_writes: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    """Prints `NAME host:port/database`, one line an instance: what each has read."""


def from_settings(given: Mapping[str, object]) -> Traffic:
    """`file`, `restart`; and, where there are: `stop_writes`, `allow_writes`, `instances`,
    `measured_seconds` (of the last restart of these instances)."""
    commands = Commands(
        *(options.words(given, name) for name in ("restart", "stop_writes", "allow_writes", "instances"))
    )
    if not commands.restart:
        raise ConfigurationError(
            "a file needs the command that restarts its readers",
            where="traffic.restart",
            intact="everything; nothing was changed",
            next="backout doctor",
        )
    measured = given.get("measured_seconds")
    seconds = float(measured) if isinstance(measured, int | float) else None
    return DsnFile(options.path(given, "file"), commands, seconds)


class DsnFile:
    """`ports.traffic.Traffic` for instances that read their connection string from a file."""

    name = "file"

    def __init__(self, file: Path, commands: Commands, measured_seconds: float | None = None) -> None:
        self._file = file
        self._commands = commands
        self._measured = measured_seconds

    def capabilities(self) -> TrafficCapabilities:
        holds = bool(self._commands.stop_writes)
        reads_back = bool(self._commands.instances)
        return TrafficCapabilities(False, Promise.RESTART, reads_back, leaves_by_itself=not holds)

    def price(self) -> Price:
        took = "unknown: no restart was measured" if self._measured is None else f"{self._measured:.0f} s"
        needs = (f"{self._file} writable here", f"the command {self._commands.restart[0]}")
        how = "refused writes" if self._commands.stop_writes else "errors"
        cut_off = "until a person acts, if this machine is lost" if self._commands.stop_writes else ""
        return Price(self.name, Promise.RESTART, f"{how} while instances restart: {took}", needs, cut_off)

    def checks(self) -> tuple[Check, ...]:
        found = _URL.findall(beside.read(self._file)) if self._file.exists() else []
        one = CheckState.PASS if len(found) == 1 else CheckState.FAIL
        mend = "the file has to hold exactly one postgresql:// URL"
        told = Check(
            "connection string", one, f"{len(found)} in {self._file}", "" if len(found) == 1 else mend
        )
        return (beside.check(self._file), told, self._read_back_check())

    def keep_away(self) -> None:
        """Nobody is led anywhere by a server that answers: instances know what they have read."""

    def open(self) -> None:
        """Nothing is kept open."""

    def prepare(self, new: Address, token: str) -> Warrant:
        text = beside.read(self._file)
        if len(_URL.findall(text)) != 1:
            raise ConfigurationError(
                f"{self._file} does not hold exactly one postgresql:// URL (its text is not shown)",
                intact="everything; nothing was changed",
                where=str(self._file),
                next="backout doctor",
            )
        led = _URL.sub(lambda found: _led_to(found.group(0), new), text)
        return beside.prepare(self._file, led.encode(), token)

    def links(self) -> Mapping[str, Link]:
        return {}

    def back(self) -> tuple[Act, ...]:
        return ()

    def forward(self, new: Address) -> tuple[Act, ...]:
        return ()

    def hold(self, seconds: float) -> Hold:
        if self._commands.stop_writes:
            _run(self._commands.stop_writes, seconds)
        return Hold(True)

    def let_go(self) -> None:
        if self._commands.allow_writes:
            _run(self._commands.allow_writes, _MINUTES)

    def switch(self, warrant: Warrant, seconds: float) -> None:
        if not spend({"prepared": warrant.prepared, "final": warrant.final}):
            raise Stopped(
                "the permission to switch was withdrawn",
                intact="traffic; nothing was switched",
                where=str(self._file),
                next="backout doctor",
            )

    def release(self, seconds: float) -> None:
        """Restart whoever reads the file; only they know how long that takes."""
        _run(self._commands.restart, _MINUTES)
        self.let_go()

    def read_back(self) -> tuple[Led, ...]:
        if not self._commands.instances:
            return (Led("which connection string each instance has read", None),)
        lines = _run(self._commands.instances, 60.0).splitlines()
        return tuple(_instance(line) for line in lines if line.strip())

    def close(self) -> None:
        beside.clear(self._file)

    def _read_back_check(self) -> Check:
        if self._commands.instances:
            return Check("read back", CheckState.PASS, "a command tells what each instance has read")
        mend = "set traffic.instances: without it the move is never shown as complete"
        return Check("read back", CheckState.WARN, "no command tells what each instance has read", mend)


def _led_to(url: str, new: Address) -> str:
    """The URL with another host, port and database; role, password and parameters are kept."""
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    host = f"[{new.host}]" if ":" in new.host else quote(new.host, safe="")
    there = f"{login}@{host}:{new.port}" if login else f"{host}:{new.port}"
    return urlunsplit((parts.scheme, there, f"/{quote(new.database, safe='')}", parts.query, parts.fragment))


def _instance(line: str) -> Led:
    who, _, where = line.strip().partition(" ")
    place, _, database = where.strip().partition("/")
    host, _, port = place.rpartition(":")
    known = bool(host and database and port.isdigit())
    return Led(f"instance {who}", Address(host, int(port), database) if known else None)


def _run(command: tuple[str, ...], seconds: float) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, no shell
            command, capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NeighbourUnreachable(
            f"{command[0]}: {type(error).__name__}",
            where="the command of the traffic lever",
            intact="everything; nothing was changed",
            next="backout doctor",
        ) from None
    if done.returncode != 0:
        raise NeighbourUnreachable(
            f"{command[0]} ended with {done.returncode}",
            where="the command of the traffic lever",
            intact="everything; nothing was changed",
            next="backout doctor",
        )
    return done.stdout
