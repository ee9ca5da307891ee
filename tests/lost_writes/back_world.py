"""A new side that took over with the old schema, the old side with the migrated one, and the way back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from backout.model.changes import lsn_of
from backout.model.fates import Fate, Fates, Reason
from backout.phases.lost_writes.following import Route
from backout.phases.lost_writes.way_back import carry_back
from backout.postgres import parked, whole_rows
from backout.postgres.connect import open_session
from backout.postgres.decoding.transactions import End
from backout.postgres.way_back import SlotWayBack
from backout.postgres.writes.follow import Limits
from backout.testing.servers import RealServer
from tests.loss.databases import clone, run

RUN = INCIDENT = "inc-back"
_SMALL = Limits(50, 0.2)


@dataclass
class World:
    """`new` has the old schema and is written to; `old` has the migrated one and is fenced."""

    server: RealServer
    new: str
    old: str
    road: Route

    def write(self, *statements: str) -> None:
        """The application, each statement its own transaction."""
        with self.server.connect(self.new) as session:
            for statement in statements:
                session.execute(statement.encode())

    def on_old(self, query: str) -> list[tuple[object, ...]]:
        with self.server.connect(self.old) as session:
            return session.execute(query.encode()).fetchall()

    def entries(self) -> tuple[parked.Entry, ...]:
        with open_session(self.road.writes, "backout/test/1") as session:
            return parked.entries(session, INCIDENT)

    def told(self) -> set[tuple[str, str, Fate, Reason]]:
        return {(e.relation, ", ".join(e.key), e.fate, e.reason) for e in self.entries()}

    def end(self) -> int:
        """A position behind everything so far."""
        with self.server.connect(self.new) as session:
            row = session.execute("SELECT pg_logical_emit_message(true, 'backout', 'token')::text").fetchone()
        assert row is not None
        return lsn_of(str(row[0]))

    def back(self, limits: Limits = _SMALL) -> Fates:
        """Everything up to now, through a process that knows nothing but what is durable."""
        return carry_back(self.road, End(lsn=self.end()), limits=limits)

    def as_text(self) -> str:
        """The road for another process."""
        return json.dumps({**asdict(self.road), "directory": str(self.road.directory)})


@contextmanager
def world(server: RealServer, directory: Path, setup: str, up: str, *, full: bool = True) -> Iterator[World]:
    """A database, its sibling after the migration, and a slot armed on the former."""
    with server.database() as new:
        run(server, new, setup)
        with clone(server, new, up) as old, server.connect(new) as session:
            name = f"backout_{new}_back"
            way_back = SlotWayBack(session, None, None)
            way_back.prepare(name)
            if not full:  # as a table that somebody held, or one with generated columns
                whole_rows.forget(session, name)
            way_back.arm(name, 5.0)
            made = session.execute("SELECT pubname::text FROM pg_publication ORDER BY 1").fetchall()
            publications = tuple(row[0] for row in made)
            conninfo = server.layout.conninfo
            ends = (conninfo(new), name, publications, None, conninfo(old))
            road = Route(*ends, RUN, INCIDENT, directory, "backout/test/2")
            try:
                yield World(server, new, old, road)
            finally:
                way_back.drop(name)
