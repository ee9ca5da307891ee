"""See the statements of up and down as the real tool sends them, on a copy of the schema without rows.

JavaScript and Python migrations cannot be read as SQL; running them is the only way to know, and a copy
without rows is made in a second. Its data-dependent branches may differ: the rehearsal has the last word.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backout.errors import BackoutError
from backout.model.check import CheckState
from backout.model.migration import History
from backout.model.statement import Statement
from backout.model.target import CopyMarker
from backout.phases.triage.facts import Captured
from backout.ports.migrator import ToolEnvironment, ToolResult
from backout.ports.servers import Scratch
from backout.ports.world import Session, World
from backout.postgres import copies, dump
from backout.postgres.binaries import client_for
from backout.postgres.catalog import read_schema
from backout.postgres.connect import as_role, open_session
from backout.postgres.names import copy_database
from backout.postgres.proxy.policy import RECORD_ONLY
from backout.postgres.source_facts import read_source_facts
from backout.postgres.through_proxy import drive

_DEADLINE = 120.0
_LEASE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Bench:
    """A schema-only copy of the target with its history rows, on a scratch server."""

    world: World
    scratch: Scratch
    database: str
    name: str
    role: str
    history_table: str

    def run(self, verb: Callable[[ToolEnvironment], ToolResult]) -> tuple[Statement, ...]:
        """Run one verb of the tool here; the statements that changed something."""
        dsn = as_role(self.world.servers.conninfo(self.scratch, self.database), self.role)
        ran = drive(self.world.migrator, verb, dsn, RECORD_ONLY, self.name)
        return ran.writing(self.history_table)


@contextmanager
def bench(world: World, incident: str, history: History, name: str) -> Iterator[Bench]:
    """Make the schema-only copy, destroy it at the end.

    Raises what the scratch server, the dump or the restore raise.
    """
    with world.databases.observe(name) as session:
        facts = read_source_facts(session)
        role = str(session.info.user)
        tables = _tables_with_rows(session, history.table)
    binaries = client_for(facts.server_version // 10000)
    bad = [c for c in world.servers.fit(facts, 200_000_000) if c.state is CheckState.FAIL]
    if bad:
        raise BackoutError(f"no scratch server fits ({bad[0].name}: {bad[0].detail})")
    scratch = world.servers.start(facts)
    database = copy_database(incident, 0)
    admin = world.servers.conninfo(scratch, "postgres")
    copies.destroy(scratch, admin, database)
    with tempfile.TemporaryDirectory(prefix="backout-schema-") as private:
        directory = Path(private) / "dump"
        taken = dump.take_dump(
            world.databases.snapshot_dsn(),
            binaries,
            directory,
            application_name=name,
            jobs=1,
            exclude_data=tables,
        )
        dump.finish(taken, dump.read_back(directory, binaries), "")
        now = world.now()
        marker = CopyMarker(
            *(database, taken.origin.system_identifier, taken.origin.database),
            *(copies.rfc3339(now), copies.rfc3339(now + _LEASE)),
        )
        copies.restore_copy(
            *(directory, scratch, admin, database, binaries, marker), application_name=name, jobs=1
        )
    try:
        yield Bench(world, scratch, database, name, role, history.table)
    finally:
        copies.destroy(scratch, admin, database)


def _tables_with_rows(session: Session, history_table: str) -> tuple[str, ...]:
    schema = read_schema(session)
    return tuple(t.qualified for t in schema.tables if t.qualified != history_table)


def up_and_down(at: Bench, count: int) -> Captured:
    """The statements of the newest `count` migrations: down first, then up again."""
    migrator = at.world.migrator

    def unapply(environment: ToolEnvironment) -> ToolResult:
        return migrator.unapply(count, environment, _DEADLINE)

    def apply(environment: ToolEnvironment) -> ToolResult:
        return migrator.apply(count, environment, _DEADLINE)

    down = at.run(unapply)
    if _still_listed(at, count):
        return Captured(
            (), down, "down captured on a schema-only copy; it failed there, so the up is unknown"
        )
    return Captured(at.run(apply), down, "captured on a schema-only copy")


def _still_listed(at: Bench, count: int) -> bool:
    """Whether the down did not happen on the copy."""
    with open_session(at.world.servers.conninfo(at.scratch, at.database), at.name) as session:
        rows = at.world.migrator.history(session).rows
    with at.world.databases.observe(at.name) as session:
        before = at.world.migrator.history(session).rows
    return len(rows) > len(before) - count


def next_up(at: Bench) -> tuple[Statement, ...]:
    """The statements of the next migration that the history does not know."""

    def apply(environment: ToolEnvironment) -> ToolResult:
        return at.world.migrator.apply(1, environment, _DEADLINE)

    return at.run(apply)
