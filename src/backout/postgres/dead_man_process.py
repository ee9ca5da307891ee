"""Start the dead-man as a process of its own, and speak its few words."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from backout.errors import NeighbourUnreachable
from backout.model.cutover import Warrant
from backout.ports.traffic import Act, Link
from backout.postgres import dead_man

_START_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Orders:
    """What an undo needs: for the dead-man, for the operator's own abort, for the command after a kill.

    `back` opens the fence and gives writes back; `forward` completes a spent warrant; `silence` ends what a
    stopped operator could go on with; `proofs` are said once when the links are opened.
    """

    warrant: Warrant
    links: Mapping[str, Link]
    back: tuple[Act, ...]
    forward: tuple[Act, ...]
    silence: tuple[Act, ...]
    proofs: tuple[Act, ...]
    budget_ms: int

    def document(self) -> dict[str, Any]:
        """As JSON-ready data; it holds passwords."""
        return asdict(self)


class DeadMan:
    """A running dead-man. Every call is short; `settled` says what it did by itself."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self._rest = b""
        self.settled = ""
        """`back` or `forward` once it has acted by itself."""

    @classmethod
    def start(cls, orders: Orders, command: Sequence[str] = ()) -> DeadMan:
        """Start it and wait until its connections are open and proved.

        `command` runs the script elsewhere, beside the pooler for example; nothing secret is in it.
        Raises `NeighbourUnreachable` when it cannot watch; then nothing may be held.
        """
        child = subprocess.Popen(  # noqa: S603 - our own script, or the command that the user configured
            list(command) or [sys.executable, "-I", dead_man.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
        made = cls(child)
        made._say(json.dumps(orders.document()))
        word, why = made._listen(_START_SECONDS)
        if word == "ready":
            return made
        made.abandon()
        raise NeighbourUnreachable(
            f"the dead-man cannot watch: {why or word or 'it said nothing'}",
            intact="everything; nothing was held",
            next="mend the connection it names, then the same command again",
            where="the dead-man",
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def hold(self) -> None:
        """The clock starts: writes are held from now on."""
        self._say("hold")

    def rest(self) -> None:
        self._say("rest")

    def answers(self, seconds: float) -> bool:
        """Whether it is there, has not acted, and answers within `seconds`."""
        self._say("ping")
        until = time.monotonic() + seconds
        while self.alive and not self.settled:
            word, _ = self._listen(max(0.0, until - time.monotonic()))
            if word in ("pong", ""):
                return word == "pong"
        return False

    def has_acted(self) -> bool:
        """Whether it has given writes back by itself; never waits."""
        while not self.settled:
            word, _ = self._listen(0.0)
            if not word:
                return False
        return True

    def disarm(self, seconds: float = 1.0) -> bool:
        """End it without an effect. False when it does not answer; then it is dead, or hangs."""
        self._say("disarm")
        until = time.monotonic() + seconds
        word = "?"
        while word not in ("disarmed", ""):
            word, _ = self._listen(max(0.0, until - time.monotonic()))
        self.abandon()
        return word == "disarmed"

    def abandon(self) -> None:
        """End the process itself, whatever it does; what it was for is settled."""
        if self.alive:
            self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            pipe.close()

    def _say(self, word: str) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(word.encode() + b"\n")
        except (OSError, ValueError):
            return  # it is dead; `alive` and `answers` say so

    def _listen(self, seconds: float) -> tuple[str, str]:
        """The next word within `seconds`, or an empty one."""
        until = time.monotonic() + seconds
        while b"\n" not in self._rest:
            if not self._more(max(0.0, until - time.monotonic())):
                return "", ""
        line, self._rest = self._rest.split(b"\n", 1)
        message = json.loads(line)
        word = str(message["word"])
        if word.startswith("settled "):
            self.settled = word.removeprefix("settled ")
        return word, str(message.get("why", ""))

    def _more(self, seconds: float) -> bool:
        stream = self._child.stdout
        if stream is None or stream.closed or not select.select([stream], [], [], seconds)[0]:
            return False
        data = os.read(stream.fileno(), 65536)
        self._rest += data
        return bool(data)
