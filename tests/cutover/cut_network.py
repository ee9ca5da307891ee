"""A host of the operator's own: a network namespace whose packets can be dropped, silently, both ways.

Servers and pooler listen on 127.0.0.1 only; on the address of the bridge relays lead to them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cutover.operating import ROOT

HERE, THERE = "10.99.7.1", "10.99.7.2"
NOBODY = "02:00:00:00:00:99"
"""A hardware address that nobody has: what is sent to it is gone, and no error comes back."""


@dataclass(frozen=True)
class Host:
    """The operator's host, reached through one wire."""

    namespace: str
    wire: str

    @property
    def command(self) -> tuple[str, ...]:
        """In front of a program: runs it there."""
        return ("ip", "netns", "exec", self.namespace)

    @property
    def cut(self) -> list[str]:
        """Typed there: from then on nothing that it sends arrives, acknowledgements neither."""
        return ["ip", "neigh", "replace", HERE, "lladdr", NOBODY, "dev", self.wire, "nud", "permanent"]

    def heal(self) -> None:
        """The wire is as it was."""
        delete = ["neigh", "del", HERE, "dev", self.wire]
        subprocess.run(["ip", "-n", self.namespace, *delete], check=True)

    def seen_from(self, config: dict[str, Any], ports: Sequence[int]) -> dict[str, Any]:
        """The operator's orders with every address as it is seen from there."""
        text = json.dumps(config)
        for port in ports:
            text = text.replace(f"127.0.0.1:{port}", f"{HERE}:{port}")
            text = text.replace(f"host=127.0.0.1 port={port}", f"host={HERE} port={port}")
        made: dict[str, Any] = json.loads(text)
        return made


@contextmanager
def operators_host(ports: Sequence[int]) -> Iterator[Host]:
    """A new host that reaches these ports of ours; skipped where no namespace can be made."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network namespace needs root and iproute2")
    host = Host(f"bkop{os.getpid()}", f"bkw{os.getpid() % 10**6}")
    ours = f"bkv{os.getpid() % 10**6}"
    made = subprocess.run(["ip", "netns", "add", host.namespace], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no network namespace here: {made.stderr.strip()}")
    try:
        _wire(host, ours)
        with _relays(ports):
            yield host
    finally:
        subprocess.run(["ip", "link", "del", ours], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", host.namespace], check=False)


def _wire(host: Host, ours: str) -> None:
    inside = ["-n", host.namespace]
    for words in (
        ["link", "add", ours, "type", "veth", "peer", "name", host.wire, "netns", host.namespace],
        ["addr", "add", f"{HERE}/30", "dev", ours],
        ["link", "set", ours, "up"],
        [*inside, "addr", "add", f"{THERE}/30", "dev", host.wire],
        [*inside, "link", "set", host.wire, "up"],
        [*inside, "link", "set", "lo", "up"],
    ):
        subprocess.run(["ip", *words], check=True)


@contextmanager
def _relays(ports: Sequence[int]) -> Iterator[None]:
    """HERE:port leads to 127.0.0.1:port."""
    command = [sys.executable, "-m", "tests.cutover.relay", HERE, *map(str, ports)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()
