"""The application of the demo: clients that write all the time, a small HTTP API, and a ledger.

Started as `python -m backout.demo.world.application serve CONTROL LEDGER PORT`, with DATABASE_URL in its
environment. Which version it runs stands in a file of CONTROL, and every client looks before every write.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psycopg

from backout.demo.world import control
from backout.demo.world.api import serve_api
from backout.demo.world.entering import enter
from backout.demo.world.ledger import Ledger
from backout.demo.world.writes import USERS, WRITERS, Gone, Hand, Write

CLIENTS = 4
PACE_SECONDS = 0.1
"""Between two writes of one client; with four clients about thirty writes a second."""
_AFTER_ERROR_SECONDS = 0.2


class Counters:
    """What happened since this process began; the ledger is the truth, this is for the screen."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.runs: dict[int, str] = {}
        self._lock = threading.Lock()

    def count(self, word: str) -> None:
        """One more of `word`."""
        with self._lock:
            self.counts[word] += 1


class Client(threading.Thread):
    """One client of the application: it writes to its own share of the users, and writes each down."""

    def __init__(
        self, number: int, url: str, files: tuple[Path, Ledger], seen: Counters, stop: threading.Event
    ) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._number = number
        self._url = url
        self._control, self._ledger = files
        self._seen = seen
        self._stopped = stop
        self._hand = Hand(number, range(1 + number, USERS + 1, CLIENTS))

    def run(self) -> None:
        """Write until told to stop; a lost connection is a client error and is made anew."""
        self._ledger.write({"kind": "begin", "client": self._number})
        while not self._stopped.is_set():
            try:
                with enter(self._url, "heroes-api") as session:
                    while not self._stopped.is_set():
                        self._write_once(session)
                        self._stopped.wait(PACE_SECONDS)
            except psycopg.Error as error:
                self._error(error)

    def _write_once(self, session: psycopg.Connection) -> None:
        version = str(control.read(self._control / "deployed.json").get("version", "v41"))
        self._seen.runs[self._number] = version
        write = self._hand.next(version)
        try:
            acknowledged = WRITERS[version](session, write)
        except psycopg.Error:
            self._hand.doubted(write)
            raise
        except Gone:
            self._hand.gone(write)
            self._ledger.write({"kind": "gone", "client": self._number, "of": write.table})
            self._seen.count("gone")
            return
        self._hand.done(acknowledged)
        self._ledger.write(self._line(version, acknowledged))
        self._seen.count("acknowledged")

    def _line(self, version: str, write: Write) -> dict[str, object]:
        return {
            "kind": write.kind,
            "client": self._number,
            "version": version,
            "table": write.table,
            "key": write.key,
            "values": write.values,
        }

    def _error(self, error: psycopg.Error) -> None:
        self._seen.count("client_errors")
        detail = {"sqlstate": error.sqlstate or "", "text": str(error).splitlines()[0][:200]}
        self._ledger.write({"kind": "error", "client": self._number, **detail})
        self._stopped.wait(_AFTER_ERROR_SECONDS)


class Reader(threading.Thread):
    """A client that reads profiles over HTTP all the time."""

    def __init__(self, port: int, ledger: Ledger, seen: Counters, stop: threading.Event) -> None:
        super().__init__(name="reader", daemon=True)
        self._base = f"http://127.0.0.1:{port}"
        self._ledger = ledger
        self._seen = seen
        self._stopped = stop

    def run(self) -> None:
        """Read one profile after another; anything but 200 is a client error."""
        number = 0
        while not self._stopped.wait(0.25):
            number = number % USERS + 1
            try:
                with urlopen(f"{self._base}/api/profile/{number}", timeout=10) as answer:  # noqa: S310
                    answer.read()
                self._seen.count("reads")
            except (URLError, HTTPException, OSError) as error:
                self._seen.count("client_errors")
                self._ledger.write({"kind": "error", "client": "reader", "text": str(error)[:200]})


def serve(directory: Path, ledger_path: Path, port: int) -> int:
    """Run until SIGTERM, or until nobody watches the demo any more."""
    url = os.environ.pop("DATABASE_URL")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ledger, seen = Ledger(ledger_path), Counters()
    api = serve_api(port, url, lambda: dict(seen.counts))
    threads = [Client(n, url, (directory, ledger), seen, stop) for n in range(CLIENTS)]
    for thread in (*threads, Reader(port, ledger, seen, stop)):
        thread.start()
    while not stop.wait(0.1) and control.demo_lives(directory):
        _say(directory, seen)
    stop.set()
    for thread in threads:
        thread.join(timeout=10)
    api.shutdown()
    _say(directory, seen)
    return 0


def _say(directory: Path, seen: Counters) -> None:
    document = {"at": time.time(), "runs": sorted(set(seen.runs.values())), **seen.counts}
    control.write(directory / "application.json", document)


def main(arguments: list[str]) -> int:
    """`serve CONTROL LEDGER PORT`."""
    match arguments:
        case ["serve", directory, ledger, port]:
            return serve(Path(directory), Path(ledger), int(port))
        case _:
            print(__doc__, file=sys.stderr)  # noqa: T201
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
