"""The ETL of the demo: works unprocessed snapshots into profile summaries, in order, and loses none.

Started as `python -m backout.demo.world.etl work CONTROL [records]`, with DATABASE_URL in its environment.
Whether it works or pauses stands in a file of CONTROL. With `records` it also keeps the best of each user.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psycopg

from backout.demo.world import control

BATCH = 200
_CLAIM = "SELECT id FROM hero_snapshots WHERE processed_at IS NULL ORDER BY id LIMIT %s FOR UPDATE"
_MARK = "UPDATE hero_snapshots SET processed_at = now() WHERE id = ANY(%s)"
_SUM = """
INSERT INTO profile_summaries AS known (user_id, snapshots, total_power)
SELECT user_id, count(*), sum((payload->>'power')::integer) FROM hero_snapshots WHERE id = ANY(%s)
GROUP BY user_id ORDER BY user_id
ON CONFLICT (user_id) DO UPDATE SET snapshots = known.snapshots + excluded.snapshots,
  total_power = known.total_power + excluded.total_power, updated_at = now()
"""
RECORD_POWER = 9_400
_RECORDS = f"""
INSERT INTO records AS known (user_id, snapshot_id, power)
SELECT DISTINCT ON (user_id) user_id, id, (payload->>'power')::integer AS power FROM hero_snapshots
WHERE id = ANY(%s) AND (payload->>'power')::integer >= {RECORD_POWER} ORDER BY user_id, 3 DESC, id
ON CONFLICT (user_id) DO UPDATE SET snapshot_id = excluded.snapshot_id, power = excluded.power
  WHERE known.power < excluded.power
"""  # noqa: S608 - a number of ours
WORK = {"": (_MARK, _SUM), "records": (_MARK, _SUM, _RECORDS)}
"""What is done with a batch of keys, statement by statement."""


class Worker:
    """One worker. A batch is one transaction: processed as a whole, or not at all and tried again."""

    def __init__(self, url: str, directory: Path, stop: threading.Event, statements: Sequence[str]) -> None:
        self._statements = statements
        self._url = url
        self._directory = directory
        self._stop = stop
        self.processed = 0
        self.errors: Counter[str] = Counter()

    def run(self) -> None:
        """Work until told to stop, or until nobody watches the demo any more."""
        while not self._stop.is_set() and control.demo_lives(self._directory):
            try:
                # the server behind a pooler changes with every transaction, and knows no prepared statement
                with psycopg.connect(
                    self._url, application_name="heroes-etl", prepare_threshold=None
                ) as session:
                    self._work(session)
            except psycopg.Error as error:
                self._fail(error)
        self._say("stopped")

    def _work(self, session: psycopg.Connection) -> None:
        while not self._stop.is_set() and control.demo_lives(self._directory):
            wanted = control.read(self._directory / "etl-wanted.json")
            if wanted.get("state") == "paused":
                self._say("paused")
                self._stop.wait(0.1)
                continue
            done = 0 if wanted.get("dead") else self._batch(session)
            self._say("running")
            self._stop.wait(0.02 if done else 0.15)

    def _batch(self, session: psycopg.Connection) -> int:
        with session.transaction():
            keys = [row[0] for row in session.execute(_CLAIM, (BATCH,))]
            if keys:
                for statement in self._statements:
                    session.execute(statement.encode(), (keys,))
        self.processed += len(keys)
        return len(keys)

    def _fail(self, error: psycopg.Error) -> None:
        state = error.sqlstate or "no connection"
        self.errors[state] += 1
        first = str(error).splitlines()[0]
        print(f"ERROR {state} {first} (failure {self.errors[state]})", flush=True)  # noqa: T201
        self._say("failing")
        self._stop.wait(0.3)

    def _say(self, state: str) -> None:
        document = {"state": state, "at": time.time(), "processed": self.processed, "errors": self.errors}
        control.write(self._directory / "etl.json", document)


def work(directory: Path, kind: str = "") -> int:
    """Run one worker until SIGTERM."""
    url = os.environ.pop("DATABASE_URL")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Worker(url, directory, stop, WORK[kind]).run()
    return 0


def main(arguments: list[str]) -> int:
    """`work CONTROL [records]`."""
    match arguments:
        case ["work", directory]:
            return work(Path(directory))
        case ["work", directory, "records"]:
            return work(Path(directory), "records")
        case _:
            print(__doc__, file=sys.stderr)  # noqa: T201
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
