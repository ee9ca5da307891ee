"""Source, target, a slot between them, and what the tests ask of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from backout.model.changes import Change, RowChange, Transaction, lsn_of
from backout.postgres.connect import open_session
from backout.postgres.decoding.stream import Source, Stream
from backout.postgres.decoding.transactions import Assembler, End, read
from backout.postgres.writes import tables
from backout.postgres.writes.apply import Applier, open_target
from backout.postgres.writes.follow import Limits, follow
from backout.postgres.writes.parking import Parking
from backout.postgres.writes.same_schema import SameSchema, keys_of_tables
from backout.testing.servers import RealServer

SOURCE = {
    "wal_level": "logical",
    "synchronous_commit": "on",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
}
# A slow WAL writer makes every commit that is answered before it is flushed a lost one.
TARGET = {"fsync": "on", "wal_writer_delay": "10s"}
RUN = "inc-1"
END = """{"incident": "inc-1", "kind": "end"}"""


@dataclass
class World:
    source: RealServer
    target: RealServer
    source_database: str
    target_database: str
    directory: Path
    slots: list[str] = field(default_factory=list)

    @property
    def source_dsn(self) -> str:
        return self.source.dsn(self.source_database)

    @property
    def target_dsn(self) -> str:
        return self.target.dsn(self.target_database)

    def on_source(self, *statements: str) -> None:
        with psycopg.connect(self.source_dsn, autocommit=True) as session:
            for statement in statements:
                session.execute(statement)

    def on_target(self, *statements: str) -> None:
        with psycopg.connect(self.target_dsn, autocommit=True) as session:
            for statement in statements:
                session.execute(statement)

    def on_both(self, *statements: str) -> None:
        self.on_source(*statements)
        self.on_target(*statements)

    def rows(self, query: str, *, target: bool = False) -> list[tuple[object, ...]]:
        with psycopg.connect(self.target_dsn if target else self.source_dsn) as session:
            return session.execute(query).fetchall()

    def publish(self, *tables: str) -> None:
        listed = ", ".join(tables)
        self.on_source(
            f"CREATE PUBLICATION backout_r FOR TABLE {listed} WITH (publish_via_partition_root = true)"
        )

    def make_slot(self) -> int:
        """The slot of this world; where it begins."""
        name = f"backout_{self.source_database}"
        made = self.rows(f"SELECT lsn::text FROM pg_create_logical_replication_slot('{name}', 'pgoutput')")
        self.slots.append(name)
        return lsn_of(str(made[0][0]))

    def arm(self, *tables: str) -> int:
        self.publish(*tables)
        return self.make_slot()

    @property
    def slot(self) -> str:
        return f"backout_{self.source_database}"

    def open(self, progress: int, *, armed: str | None = None) -> Stream:
        return Stream(Source(self.source_dsn, self.slot, ("backout_r",), progress, "backout/inc-1/1", armed))

    def mark_end(self) -> int:
        """A marker behind everything so far."""
        told = self.rows(f"SELECT pg_logical_emit_message(true, 'backout', '{END}')::text")
        return lsn_of(str(told[0][0]))

    @contextmanager
    def transactions(self, start: int, *, budget: int = 16 << 20) -> Iterator[Iterator[Transaction]]:
        """Everything from `start` to now."""
        with self.open(start) as stream, self.transactions_of(stream, start, budget=budget) as found:
            yield found

    @contextmanager
    def transactions_of(
        self, stream: Stream, start: int, *, budget: int = 16 << 20
    ) -> Iterator[Iterator[Transaction]]:
        end = End(lsn=self.mark_end())
        assembler = Assembler(start, self.directory, budget, partitioned=stream.partitioned)
        events = read(stream.frames(), assembler, end, deadline=time.monotonic() + 60)
        yield (event for event in events if isinstance(event, Transaction))

    def changes(self, start: int) -> list[Change]:
        with self.transactions(start) as found:
            return [change for transaction in found for change in transaction.changes]

    def row_changes(self, start: int) -> list[RowChange]:
        return [change for change in self.changes(start) if isinstance(change, RowChange)]

    def prepare_target(self, start: int) -> None:
        with open_session(self.target_dsn, "backout/inc-1/1") as session:
            tables.make_tables(session)
            tables.begin_run(session, RUN, start)

    @contextmanager
    def applier(self, stream: Stream | None = None) -> Iterator[Applier]:
        session = open_target(self.target_dsn, "backout/inc-1/2").session
        with session:
            applier = Applier(
                session,
                tables.take_over(session, RUN),
                SameSchema(keys_of_tables(session)),
                Parking(session, RUN, RUN),
                alive=stream.tend if stream else lambda: None,
            )
            try:
                yield applier
            finally:
                applier.close()

    def carry_over(self, limits: Limits | None = None) -> int:
        """Everything of the source up to now, applied to the target; how many changes were parked."""
        end = End(lsn=self.mark_end())
        with self.applier() as applier, self.open(applier.lsn) as stream:
            deadline = time.monotonic() + 60
            follow(stream, applier, end, self.directory, limits=limits or Limits(), deadline=deadline)
            return applier.parked

    def parked(self) -> list[tuple[object, ...]]:
        return self.rows("SELECT rel, kind, pk, sqlstate FROM backout.refused ORDER BY lsn, seq", target=True)

    def confirmed(self) -> int:
        told = self.rows(
            f"SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{self.slot}'"
        )
        return lsn_of(str(told[0][0]))

    def same(self, query: str) -> None:
        assert self.rows(query, target=True) == self.rows(query)

    def end(self) -> None:
        for name in self.slots:
            self.on_source(
                "SELECT pg_terminate_backend(active_pid, 2000) FROM pg_replication_slots"
                f" WHERE slot_name = '{name}' AND active_pid IS NOT NULL",
                f"SELECT pg_drop_replication_slot('{name}')",
            )
