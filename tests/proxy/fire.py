"""Four writers with a ledger outside the database, and the question afterwards: where is each value."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from backout.model.plan import Keep, KeepHow
from backout.postgres.connect import open_session
from backout.postgres.proxy.kept_tables import ensure_schema

KEYS = 2_000
WRITERS = 4
TABLES = ("dropped_column", "zeroed", "deleted", "truncated", "dropped_table")

KEEPS = (
    Keep("public.dropped_column", 0, KeepHow.COLUMNS, ("id",), ("v",)),
    Keep("public.zeroed", 0, KeepHow.CHANGED_ROWS, ("id",), ("v",)),
    Keep("public.deleted", 0, KeepHow.CHANGED_ROWS, ("id",), ("v",)),
    Keep("public.truncated", 0, KeepHow.WHOLE_TABLE, ("id",), ("id", "v")),
    Keep("public.dropped_table", 0, KeepHow.WHOLE_TABLE, ("id",), ("id", "v")),
)

DOWN = (
    "ALTER TABLE dropped_column DROP COLUMN v",
    "UPDATE zeroed SET v = 0",
    "DELETE FROM deleted WHERE id % 2 = 0",
    "TRUNCATE truncated",
    "DROP TABLE dropped_table",
)


def make(dsn: str) -> None:
    """One table for each way to destroy a value."""
    with open_session(dsn, "backout/fire/1") as session:
        ensure_schema(session)
        for table in TABLES:
            name = sql.Identifier("public", table)
            session.execute(sql.SQL("CREATE TABLE {} (id int PRIMARY KEY, v int)").format(name))
            session.execute(
                sql.SQL("INSERT INTO {} SELECT n, 1 FROM generate_series(1, {}) n").format(name, KEYS)
            )


@dataclass
class Writer:
    """Writes random keys of its own until it is told to stop; notes what was acknowledged."""

    dsn: str
    number: int
    stop: threading.Event
    ledger: dict[tuple[str, int], int] = field(default_factory=dict)
    longest_gap: float = 0.0
    faults: list[str] = field(default_factory=list)

    def run(self) -> None:
        dice = random.Random(self.number)
        open_tables = list(TABLES)
        last, value = time.monotonic(), 1
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not self.stop.is_set() and open_tables:
                table = dice.choice(open_tables)
                key = 1 + self.number + WRITERS * dice.randrange(KEYS // WRITERS)
                value += 1
                update = sql.SQL("UPDATE {} SET v = %s WHERE id = %s").format(sql.Identifier(table))
                try:
                    done = connection.execute(update, (value, key))
                except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable):
                    open_tables.remove(table)
                    continue
                except psycopg.Error as fault:
                    self.faults.append(f"{fault.sqlstate} {fault}")
                    continue
                now = time.monotonic()
                self.longest_gap, last = max(self.longest_gap, now - last), now
                if done.rowcount == 1:
                    self.ledger[table, key] = value


@contextmanager
def under_fire(dsn: str) -> Iterator[list[Writer]]:
    """Writers write before, during and after the block."""
    stop = threading.Event()
    writers = [Writer(dsn, number, stop) for number in range(WRITERS)]
    threads = [threading.Thread(target=writer.run) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        while min(len(writer.ledger) for writer in writers) < 50:
            time.sleep(0.01)
        yield writers
        time.sleep(0.1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def lost(dsn: str, writers: list[Writer]) -> list[tuple[str, int, int]]:
    """Acknowledged values that are neither live nor kept: (table, key, value)."""
    with psycopg.connect(dsn) as connection:
        places = {table: {**_live(connection, table)} for table in TABLES}
        kept = _kept(connection)
    missing = []
    for writer in writers:
        for (table, key), value in writer.ledger.items():
            if places[table].get(key) != value and value not in kept.get((table, key), ()):
                missing.append((table, key, value))
    return missing


def _live(connection: psycopg.Connection, table: str) -> dict[int, int]:
    there = "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = 'v'"
    if connection.execute(there, (f"public.{table}",)).fetchone() is None:
        return {}
    return dict(connection.execute(sql.SQL("SELECT id, v FROM {}").format(sql.Identifier(table))).fetchall())


def _kept(connection: psycopg.Connection) -> dict[tuple[str, int], set[int]]:
    found: dict[tuple[str, int], set[int]] = {}
    manifest = connection.execute("SELECT relation, kept_table FROM backout_kept.manifest").fetchall()
    for relation, table in manifest:
        rows = connection.execute(
            sql.SQL("SELECT id, v FROM {}").format(sql.Identifier("backout_kept", table))
        ).fetchall()
        for key, value in rows:
            found.setdefault((relation.removeprefix("public."), key), set()).add(value)
    return found


# --- what goes wrong: the same down with a copy of its own, as people write it


def naive_copies() -> list[str]:
    """Statements that copy every table without a lock, and enter the copies in the manifest."""
    copies = []
    for number, table in enumerate(TABLES):
        copies.append(f"CREATE TABLE backout_kept.naive_{table} AS SELECT id, v FROM public.{table}")
        copies.append(
            "INSERT INTO backout_kept.manifest VALUES"
            f" ('naive', {number}, 'public.{table}', 0, 'columns', '{{id}}', '{{v}}', 0, 0, '', NULL, now(),"
            f" 'naive_{table}')"
        )
    return copies


TIME_OF_A_COPY = "SELECT pg_sleep(0.15)"
"""A table of a production does not copy in a millisecond."""
