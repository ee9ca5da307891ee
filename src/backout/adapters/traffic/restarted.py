"""What every lever shares whose instances read a connection string once: hold, restart, and read back.

They cannot hold writes: where there is a command that puts the application into read-only mode (or scales
its writers to zero), that is the hold; else the fence cuts the clients. The pause is what the restart of
these instances takes, never a pooler's figure.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from backout.adapters.traffic import options
from backout.errors import ConfigurationError, NeighbourUnreachable
from backout.model.check import Check, CheckState
from backout.model.cutover import Price, Promise
from backout.ports.traffic import Act, Address, Hold, Led, Link, TrafficCapabilities

URL = re.compile(r"postgres(?:ql)?://[^\s\"']+")
_MINUTES = 600.0


@dataclass(frozen=True, slots=True)
class Commands:
    """The user's own, each a list of words and no shell; empty where there is none."""

    restart: tuple[str, ...]
    stop_writes: tuple[str, ...] = ()
    allow_writes: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    """Prints `NAME host:port/database`, one line an instance: what each has read."""
    measured_seconds: float | None = None
    """What the last restart of these instances took."""


def commands(given: Mapping[str, object], what: str) -> Commands:
    """From `restart` and, where there are, `stop_writes`, `allow_writes`, `instances`, `measured_seconds`;
    `what` is the lever, for the one that lacks its restart."""
    measured = given.get("measured_seconds")
    made = Commands(
        restart=options.words(given, "restart"),
        stop_writes=options.words(given, "stop_writes"),
        allow_writes=options.words(given, "allow_writes"),
        instances=options.words(given, "instances"),
        measured_seconds=float(measured) if isinstance(measured, int | float) else None,
    )
    if not made.restart:
        raise ConfigurationError(
            f"{what} needs the command that restarts its readers",
            where="traffic.restart",
            intact="everything; nothing was changed",
            next="backout doctor",
        )
    return made


class Restarted:
    """The part of `ports.traffic.Traffic` that does not know where the connection string lies."""

    name = ""

    def __init__(self, own: Commands) -> None:
        self._commands = own

    def capabilities(self) -> TrafficCapabilities:
        holds = bool(self._commands.stop_writes)
        reads_back = bool(self._commands.instances)
        return TrafficCapabilities(False, Promise.RESTART, reads_back, leaves_by_itself=not holds)

    def price_of(self, *needs: str) -> Price:
        """What the move costs; `needs` beside the restart."""
        measured = self._commands.measured_seconds
        took = "unknown: no restart was measured" if measured is None else f"{measured:.0f} s"
        how = "refused writes" if self._commands.stop_writes else "errors"
        cut_off = "until a person acts, if this machine is lost" if self._commands.stop_writes else ""
        all_needs = (*needs, f"the command {self._commands.restart[0]}")
        return Price(self.name, Promise.RESTART, f"{how} while instances restart: {took}", all_needs, cut_off)

    def keep_away(self) -> None:
        """Nobody is led anywhere by a server that answers: instances know what they have read."""

    def open(self) -> None:
        """Nothing is kept open."""

    def links(self) -> Mapping[str, Link]:
        return {}

    def back(self) -> tuple[Act, ...]:
        return ()

    def forward(self, new: Address) -> tuple[Act, ...]:
        return ()

    def hold(self, seconds: float) -> Hold:
        if self._commands.stop_writes:
            run(self._commands.stop_writes, seconds)
        return Hold(True)

    def let_go(self) -> None:
        if self._commands.allow_writes:
            run(self._commands.allow_writes, _MINUTES)

    def release(self, seconds: float) -> None:
        """Restart whoever has read the string; only they know how long that takes."""
        run(self._commands.restart, _MINUTES)
        self.let_go()

    def read_back(self) -> tuple[Led, ...]:
        if not self._commands.instances:
            return (Led("which connection string each instance has read", None),)
        lines = run(self._commands.instances, 60.0).splitlines()
        return tuple(_instance(line) for line in lines if line.strip())

    def read_back_check(self) -> Check:
        """Whether anything tells what each instance has read."""
        if self._commands.instances:
            return Check("read back", CheckState.PASS, "a command tells what each instance has read")
        mend = "set traffic.instances: without it the move is never shown as complete"
        return Check("read back", CheckState.WARN, "no command tells what each instance has read", mend)


def only_url(text: str, where: str) -> str:
    """The one connection string in a text; raises `ConfigurationError`, which shows nothing of it."""
    found = URL.findall(text)
    if len(found) != 1:
        raise ConfigurationError(
            f"{where} does not hold exactly one postgresql:// URL (its text is not shown)",
            intact="everything; nothing was changed",
            where=where,
            next="backout doctor",
        )
    return str(found[0])


def string_check(text: str, where: str) -> Check:
    """Whether a text holds the one connection string."""
    count = len(URL.findall(text))
    if count == 1:
        return Check("connection string", CheckState.PASS, f"1 in {where}")
    mend = "it has to hold exactly one postgresql:// URL"
    return Check("connection string", CheckState.FAIL, f"{count} in {where}", mend)


def led_to(url: str, new: Address) -> str:
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


def run(command: tuple[str, ...], seconds: float, said: str = "") -> str:
    """Run a command of the user's, with `said` on its stdin; what it prints. Raises `NeighbourUnreachable`,
    which shows nothing of either."""
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, no shell
            command, capture_output=True, text=True, timeout=seconds, check=False, input=said
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
