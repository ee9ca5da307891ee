"""A file that holds the connection string, and a command that restarts the instances that read it.

The slowest lever, and the one that everybody has.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backout.adapters.traffic import beside, options, restarted
from backout.adapters.traffic.restarted import Commands, Restarted
from backout.model.check import Check
from backout.model.cutover import Price, Warrant
from backout.ports.traffic import Address, Traffic


def from_settings(given: Mapping[str, object]) -> Traffic:
    """`file`, `restart`; and, where there are: `stop_writes`, `allow_writes`, `instances`,
    `measured_seconds` (of the last restart of these instances)."""
    return DsnFile(options.path(given, "file"), restarted.commands(given, "a file"))


class DsnFile(Restarted):
    """`ports.traffic.Traffic` for instances that read their connection string from a file."""

    name = "file"

    def __init__(self, file: Path, own: Commands) -> None:
        super().__init__(own)
        self._file = file

    def price(self) -> Price:
        return self.price_of(f"{self._file} writable here")

    def checks(self) -> tuple[Check, ...]:
        text = beside.read(self._file) if self._file.exists() else ""
        told = restarted.string_check(text, str(self._file))
        return (beside.check(self._file), told, self.read_back_check())

    def prepare(self, new: Address, token: str) -> Warrant:
        text = beside.read(self._file)
        url = restarted.only_url(text, str(self._file))
        return beside.prepare(self._file, text.replace(url, restarted.led_to(url, new)).encode(), token)

    def switch(self, warrant: Warrant, seconds: float) -> None:
        beside.spend(warrant, str(self._file))

    def close(self) -> None:
        beside.clear(self._file)
