"""Clients of a repair, as a program of its own: they write until stdin ends, then print when and how long.

`python -m benchmarks.clients ROWS`, the DSN on the first line of stdin. A process apart, because its times
would else be those of the interpreter that the repair runs in.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time

import psycopg

CLIENTS = 4
_PAUSE = 0.01
_AMONG_THE_REPAIRED = 0.1
"""So many of the writes go to a row that the repair has to write."""


class Client(threading.Thread):
    """One client: single-row updates of a column that the migration did not touch."""

    def __init__(self, dsn: str, rows: int, number: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._dsn, self._rows, self._over = dsn, rows, over
        self._random = random.Random(number)  # noqa: S311 - which row, not a secret
        self.writes: list[tuple[float, float]] = []
        """(when it began, how long it took), in seconds of the machine's monotonic clock."""

    def run(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as session:
            while not self._over.wait(_PAUSE):
                row, begun = self._row(), time.monotonic()
                session.execute("UPDATE users SET seen = seen + 1 WHERE id = %s", (row,))
                self.writes.append((begun, time.monotonic() - begun))

    def _row(self) -> int:
        row = self._random.randint(1, self._rows)
        return max(100, row // 100 * 100) if self._random.random() < _AMONG_THE_REPAIRED else row


def main() -> None:
    """Write, say so, and at the end of stdin print all writes of all clients as one JSON list."""
    dsn, over = sys.stdin.readline().strip(), threading.Event()
    clients = [Client(dsn, int(sys.argv[1]), number, over) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    while not all(client.writes for client in clients):
        time.sleep(0.01)
    sys.stdout.write("writing\n")
    sys.stdout.flush()
    sys.stdin.read()
    over.set()
    for client in clients:
        client.join(30)
    sys.stdout.write(json.dumps([write for client in clients for write in client.writes]) + "\n")


if __name__ == "__main__":
    main()
