"""Clients that write through a lever and remember, outside of every database, what was acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import psycopg

from backout.testing.servers import RealServer


@dataclass
class Ledger:
    """What the clients saw. Times are of one monotonic clock."""

    acknowledged: list[tuple[float, int, int]] = field(default_factory=list)
    slow: list[tuple[float, float]] = field(default_factory=list)
    """(when it was acknowledged, how long it took) of every write."""
    errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def longest_silence_ms(self) -> float:
        times = sorted(at for at, _, _ in self.acknowledged)
        return max((b - a for a, b in pairwise(times)), default=0.0) * 1000

    @property
    def slowest_ms(self) -> float:
        return max((took for _, took in self.slow), default=0.0) * 1000

    def slowest_until_ms(self, end: float) -> float:
        """What a write cost on this machine before anything was held."""
        return max((took for at, took in self.slow if at < end), default=0.0) * 1000

    def since(self, began: float) -> int:
        return sum(at > began for at, _, _ in self.acknowledged)

    def missing_on(self, server: RealServer, database: str) -> set[tuple[int, int]]:
        acknowledged = {(w, n) for _, w, n in list(self.acknowledged)}  # before looking: writers may go on
        with server.connect(database) as session:
            rows = session.execute("SELECT writer, number FROM events").fetchall()
        assert len(rows) == len(set(rows))
        return acknowledged - {(w, n) for w, n in rows}

    def told(self) -> str:
        return (
            f"{len(self.acknowledged)} acknowledged, longest silence {self.longest_silence_ms:.0f} ms, "
            f"slowest {self.slowest_ms:.0f} ms, {len(self.errors)} errors {self.errors[:2]}"
        )


def _write(session: psycopg.Connection, writer: int, number: int) -> None:
    """Every third write is a transaction of several statements."""
    if number % 3:
        session.execute("INSERT INTO events (writer, number) VALUES (%s, %s)", (writer, number))
        return
    with session.transaction():
        session.execute("INSERT INTO events (writer, number) VALUES (%s, %s)", (writer, number))
        session.execute(
            "UPDATE events SET seen = seen + 1 WHERE writer = %s AND number = %s", (writer, number - 1)
        )


def _one(
    connect: Callable[[], psycopg.Connection], writer: int, ledger: Ledger, stop: threading.Event
) -> None:
    session: psycopg.Connection | None = None
    number = 0
    while not stop.is_set():
        number += 1
        began = time.monotonic()
        try:
            if session is None or session.closed:
                session = connect()
            _write(session, writer, number)
        except psycopg.Error as error:
            with ledger.lock:
                ledger.errors.append(f"{writer}/{number}: {str(error).strip()[:150]}")
            if session is not None:
                session.close()
            time.sleep(0.02)
            continue
        at = time.monotonic()
        with ledger.lock:
            ledger.acknowledged.append((at, writer, number))
            ledger.slow.append((at, at - began))
        stop.wait(0.1)
    if session is not None:
        session.close()


@contextmanager
def writing(dsn: str | Callable[[], str], count: int = 20, first: int = 0) -> Iterator[Ledger]:
    """`count` clients write until the block ends; a `dsn` that is called is read anew for each session."""

    def connect() -> psycopg.Connection:
        told = dsn if isinstance(dsn, str) else dsn()
        return psycopg.connect(told, autocommit=True, prepare_threshold=None, connect_timeout=10)

    ledger = Ledger()
    stop = threading.Event()
    threads = [
        threading.Thread(target=_one, args=(connect, first + n, ledger, stop), daemon=True)
        for n in range(count)
    ]
    for thread in threads:
        thread.start()
    while len({w for _, w, _ in list(ledger.acknowledged)}) < count:
        time.sleep(0.05)
    with ledger.lock:  # opening forty connections is not what is measured
        ledger.slow.clear()
    try:
        yield ledger
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
