"""Eight clients that write through the pooler until stdin ends, then print what they were told, as JSON.

Arguments: the connection string, and the pause between two writes of one client in seconds.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import psycopg

CLIENTS = 8
SEED_USERS = 300


class Writer(threading.Thread):
    """One client; it shares no row with another, so the last acknowledged value is known."""

    def __init__(self, dsn: str, number: int, pause: float, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._dsn, self._number, self._pause, self._over = dsn, number, pause, over
        self.issues: dict[int, tuple[str, int]] = {}
        self.users: dict[int, str] = {}
        self.times: list[float] = []
        self.errors: list[str] = []
        self._deadlocks = 0

    def run(self) -> None:
        with psycopg.connect(
            self._dsn, autocommit=True, prepare_threshold=None, connect_timeout=10
        ) as session:
            count = 0
            while not self._over.wait(self._pause):
                count += 1
                try:
                    if self._write(session, count):
                        self.times.append(time.time())
                except psycopg.errors.DeadlockDetected as error:
                    self._deadlocks += 1
                    if self._deadlocks > 1:  # once it is the migration itself, and nothing was acknowledged
                        self.errors.append(str(error))
                except psycopg.Error as error:
                    self.errors.append(str(error))
                    return

    def _write(self, session: psycopg.Connection, count: int) -> bool:
        mine = list(self.issues)
        if count % 3 == 0 and mine:
            key = mine[-1 - count % min(7, len(mine))]
            row = session.execute(
                "UPDATE issues SET version = version + 1 WHERE id = %s RETURNING version", (key,)
            ).fetchone()
            if row is None:  # truncated meanwhile: nothing was acknowledged
                return False
            self.issues[key] = (self.issues[key][0], row[0])
        elif count % 5 == 0:
            key, name = self._number + 1 + CLIENTS * (count % 37), f"{self._number}-{count}"
            if key > SEED_USERS:
                return False
            session.execute("UPDATE users SET name = %s WHERE id = %s", (name, key))
            self.users[key] = name
        else:
            title = f"{self._number}-{count}"
            row = session.execute(
                "INSERT INTO issues (author, title) VALUES (%s, %s) RETURNING id", (1 + count % 50, title)
            ).fetchone()
            assert row is not None
            self.issues[row[0]] = (title, 0)
        return True


def main() -> None:
    over = threading.Event()
    writers = [Writer(sys.argv[1], number, float(sys.argv[2]), over) for number in range(CLIENTS)]
    for writer in writers:
        writer.start()
    while not all(len(writer.issues) > 5 or writer.errors for writer in writers):
        time.sleep(0.05)
    print("writing", flush=True)
    sys.stdin.read()
    over.set()
    for writer in writers:
        writer.join(30)
    told = {
        "issues": {key: value for writer in writers for key, value in writer.issues.items()},
        "users": {key: value for writer in writers for key, value in writer.users.items()},
        "times": [at for writer in writers for at in writer.times],
        "errors": [error for writer in writers for error in writer.errors],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
