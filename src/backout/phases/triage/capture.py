"""See the statements of up and down as the real tool sends them, on a copy of the schema without rows.

JavaScript and Python migrations cannot be read as SQL; running them is the only way to know, and a copy
without rows is made in a second. Its data-dependent branches may differ: the rehearsal has the last word.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backout.model.migration import History
from backout.model.target import CopyMarker
from backout.ports.migrator import ToolEnvironment, ToolResult
from backout.ports.servers import Scratch
from backout.ports.world import Session, World
from backout.postgres import copies, dump, fitting
from backout.postgres.alone import run_alone
from backout.postgres.binaries import client_for
from backout.postgres.catalog import Schema, read_schema
from backout.postgres.connect import open_session
from backout.postgres.names import copy_database
from backout.postgres.proxy.policy import RECORD_ONLY
from backout.postgres.roles import acting_dsn
from backout.postgres.source_facts import read_source_facts
from backout.postgres.through_proxy import ToolRun, drive_on_copy

DEADLINE = 120.0
"""Seconds that one start of the tool may take here."""
_LEASE = timedelta(hours=1)
_ROOM_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class Bench:
    """A schema-only copy of the target with its history rows, on a scratch server."""

    world: World
    scratch: Scratch
    database: str
    name: str
    role: str
    history_table: str

    @property
    def _dsn(self) -> str:
        dsn = self.world.servers.conninfo(self.scratch, self.database)
        with open_session(dsn, self.name) as session:
            return acting_dsn(session, dsn, self.role)

    def drive(self, verb: Callable[[ToolEnvironment], ToolResult]) -> ToolRun:
        """Run one verb of the tool here, recorded."""
        return drive_on_copy(self.world, verb, self._dsn, RECORD_ONLY, self.name)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session as the tool's role."""
        with open_session(self._dsn, self.name) as opened:
            yield opened

    def prepare(self, statements: Sequence[str]) -> None:
        """Run statements of ours here, each alone; what fails is let be (it was done before)."""
        if statements:
            with self.session() as session:
                for statement in statements:
                    run_alone(session, statement, lock_timeout=5.0, statement_timeout=DEADLINE)

    def applied(self) -> tuple[str, ...]:
        """Names in the history of this copy."""
        with self.session() as session:
            return tuple(row.name for row in self.world.migrator.history(session).rows)

    def schema(self) -> Schema:
        """The schema of this copy as it is now."""
        with self.session() as session:
            return read_schema(session)


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
    fitting.require(world.servers, facts, _ROOM_BYTES, world.target)
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
