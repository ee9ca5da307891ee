"""A connection string that lies where only a command gets at it: a secrets manager, a Kubernetes secret, DNS.

`read` prints what is in force and `write` takes the new one on its stdin, both the user's own programs. What
is written cannot be one rename, so the permission to switch is a file of ours: who finds it spent writes
(again), restarts and reads back. What is written is what is in force with another host, port and database.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backout.adapters.traffic import beside, options, restarted
from backout.adapters.traffic.restarted import Commands, Restarted
from backout.errors import ConfigurationError, NeighbourUnreachable
from backout.model.check import Check, CheckState
from backout.model.cutover import Price, Warrant
from backout.ports.traffic import Address, Traffic

_SECONDS = 60.0


def from_settings(given: Mapping[str, object]) -> Traffic:
    """`read`, `write`, `restart`; and, where there are: `stop_writes`, `allow_writes`, `instances`,
    `measured_seconds` (of the last restart of these instances). `state`: directory for the permission."""
    read, write = options.words(given, "read"), options.words(given, "write")
    if not (read and write):
        raise ConfigurationError(
            "a command needs both: `read` prints the connection string in force, `write` takes a new one",
            where="traffic.read, traffic.write",
            intact="everything; nothing was changed",
            next="backout doctor",
        )
    return DsnCommand(options.path(given, "state"), read, write, restarted.commands(given, "a command"))


class DsnCommand(Restarted):
    """`ports.traffic.Traffic` for instances whose connection string only commands read and write."""

    name = "command"

    def __init__(self, state: Path, read: tuple[str, ...], write: tuple[str, ...], own: Commands) -> None:
        super().__init__(own)
        self._file = state / "command"
        self._read = read
        self._write = write

    def price(self) -> Price:
        return self.price_of(f"the command {self._read[0]}", f"the command {self._write[0]}")

    def checks(self) -> tuple[Check, ...]:
        """Only read: what watches the string might restart instances for a write."""
        try:
            told = restarted.string_check(self._in_force(), f"what {self._read[0]} prints")
        except NeighbourUnreachable as error:
            mend = "let the account that runs backout read it"
            return (Check("commands", CheckState.FAIL, error.what, mend),)
        return (told, self.read_back_check())

    def prepare(self, new: Address, token: str) -> Warrant:
        """What is in force is written once as it is, before anything is held: a command that may not write
        is found here and not behind the fence."""
        text = self._in_force()
        restarted.only_url(text, f"what {self._read[0]} prints")
        restarted.run(self._write, _SECONDS, text)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        return beside.prepare(self._file, f"{new} {token}\n".encode(), token)

    def switch(self, warrant: Warrant, seconds: float) -> None:
        beside.spend(warrant, f"the command {self._write[0]}")

    def release(self, seconds: float) -> None:
        """Written here and not in the hold: only the command knows how long it takes, and said again after a
        kill it writes the same."""
        text = self._in_force()
        url = restarted.only_url(text, f"what {self._read[0]} prints")
        restarted.run(self._write, _SECONDS, text.replace(url, restarted.led_to(url, self._switched_to())))
        super().release(seconds)

    def close(self) -> None:
        beside.clear(self._file)

    def _in_force(self) -> str:
        return restarted.run(self._read, _SECONDS)

    def _switched_to(self) -> Address:
        """What the spent permission says."""
        place, _, database = self._file.read_text("utf-8").rpartition(" ")[0].partition("/")
        host, _, port = place.rpartition(":")
        return Address(host, int(port), database)
