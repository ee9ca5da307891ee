"""A database before a migration, just after it, and now: the three states of a repair, on one server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from backout.model.plan import Budgets
from backout.model.repair import Repaired, RepairTable
from backout.phases.lost_writes import decide
from backout.phases.lost_writes.in_place import Repair, repair_table
from backout.postgres import done, parked
from backout.postgres.catalog import read_schema
from backout.postgres.connect import Session
from backout.postgres.losses.down import steady
from backout.postgres.proxy.kept_tables import ensure_schema
from backout.postgres.repair import attempts, effect, sequences
from backout.postgres.repair.live import Marks
from backout.testing.servers import RealServer
from tests.loss.databases import clone, run, session_of

INCIDENT = "inc-test"


@dataclass(frozen=True, slots=True)
class World:
    """Sessions on the three states. The live one is past the down, like the migrated copy."""

    before: Session
    migrated: Session
    live: Session
    plan: decide.Repairable
    marks: Marks

    def repair(self, *, quiet_triggers: bool = False, rest: float = 0) -> dict[str, Repaired]:
        """Repair every table of the plan."""
        with steady(self.before), steady(self.migrated):
            copies = effect.Copies(
                self.before, self.migrated, read_schema(self.before), read_schema(self.migrated)
            )
            repair = Repair(self.live, INCIDENT, self.marks, "", quiet_triggers, Budgets(), rest=rest)
            for table in self.plan.tables:
                sequences.lift(self.before, self.live, table)
            return {table.table: repair_table(repair, copies, table) for table in self.plan.tables}

    def writer(self) -> Repair:
        """What resolving parked rows needs."""
        return Repair(self.live, INCIDENT, self.marks, "", False, Budgets())

    def table(self, name: str) -> RepairTable:
        return next(table for table in self.plan.tables if table.table == name)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.live.execute(query).fetchall()

    def parked(self) -> list[tuple[object, ...]]:
        return [(e.relation, e.key, e.fate.value, e.reason) for e in parked.entries(self.live, INCIDENT)]


@contextmanager
def world(
    server: RealServer, setup: str, up: str, down: str, writes: str = "", later: str = ""
) -> Iterator[World]:
    """`setup`, then the migration's `up`; the application's `writes`; the `down`; and `later` writes."""
    with ExitStack() as stack, server.database() as database:
        run(server, database, setup)
        before = stack.enter_context(clone(server, database, "SELECT"))
        migrated = stack.enter_context(clone(server, database, up))
        run(server, migrated, down or "SELECT")
        migration = _apply(server, database, up)
        run(server, database, writes or "SELECT")
        sessions = [stack.enter_context(session_of(server, name)) for name in (before, migrated, database)]
        undone = read_schema(sessions[2])
        row = sessions[2].execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text").fetchone()
        assert row is not None
        run(server, database, "SELECT pg_current_xact_id()")  # others go on: the down is never the very next
        downs = (_apply(server, database, down),) if down else ()
        run(server, database, later or "SELECT")
        plan = decide.repairable(read_schema(sessions[0]), undone, read_schema(sessions[2]), frozenset())
        attempts.with_search_path_of_role(sessions[2])
        ensure_schema(sessions[2])
        done.ensure(sessions[2])
        parked.ensure(sessions[2])
        marks = Marks(str(int(row[0]) & 0xFFFFFFFF), migration, downs)
        yield World(sessions[0], sessions[1], sessions[2], plan, marks)


def _apply(server: RealServer, database: str, up: str) -> str:
    """Apply the migration as a tool does, in one transaction; its xid (32 bit)."""
    with server.connect(database) as session, session.transaction():
        session.execute(up.encode())
        row = session.execute("SELECT pg_current_xact_id()::text").fetchone()
        assert row is not None
        return str(int(row[0]) & 0xFFFFFFFF)
