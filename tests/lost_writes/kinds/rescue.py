"""The databases of a night, and the product's own code that brings the writes back in each of them.

All are clones of one another on one server (`CREATE DATABASE … TEMPLATE`), so they are physical siblings as
restored copies are: tables have the same oids, and a row that nobody wrote has the same `xmin`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from backout.model.changes import lsn_of
from backout.model.fates import Fates
from backout.model.plan import Budgets
from backout.phases.lost_writes import decide, from_states
from backout.phases.lost_writes.from_log import FromLog, States
from backout.phases.lost_writes.in_place import Repair, repair_table, wrong_rows
from backout.phases.lost_writes.log_map import log_tables
from backout.phases.lost_writes.parking import retry
from backout.postgres import done, parked
from backout.postgres.activity import flushed_lsn
from backout.postgres.catalog import read_schema
from backout.postgres.connect import Session, open_session
from backout.postgres.decoding.recognise import Signs
from backout.postgres.losses.down import steady
from backout.postgres.proxy.kept_tables import ensure_schema
from backout.postgres.repair import attempts, effect, rights, sequences
from backout.postgres.repair.live import Marks
from backout.postgres.writes import memory, tables
from backout.postgres.writes.apply import Applier, open_target
from backout.postgres.writes.parking import Parking
from backout.testing.servers import RealServer
from tests.loss.databases import clone, run
from tests.lost_writes import test_from_log
from tests.lost_writes.kinds.worlds import World

NAME = "backout/test/1"
INCIDENT = test_from_log.INCIDENT


@dataclass(frozen=True)
class Night:
    """One server database for each state, with all worlds of the night in every one of them."""

    server: RealServer
    directory: Path
    worlds: Sequence[World]
    before: str
    migrated: str
    undone: str
    """Just after the migration, with the down on top."""
    live: str
    twin: str
    log: test_from_log.World
    states: str
    """The restored database that gets the merge of the states."""
    xid: int

    def dsn(self, database: str) -> str:
        """For our own sessions."""
        return self.server.layout.conninfo(database)


@contextmanager
def night(server: RealServer, worlds: Sequence[World], directory: Path) -> Iterator[Night]:
    """Everything up to the migration's commit."""
    with server.database() as live, ExitStack() as stack:
        run(server, live, "\n".join(world.setup for world in worlds))
        copies = [stack.enter_context(clone(server, live, "SELECT")) for _ in range(4)]
        before, twin, restored, states = copies
        stack.callback(_drop_slot, server, live)
        start, xid = _migrate(server, live, worlds)
        migrated, undone = (stack.enter_context(clone(server, live, "SELECT")) for _ in range(2))
        run(server, undone, _downs(worlds))
        log = test_from_log.World(
            *(server, live, before, migrated, restored, start, xid, directory),
            publications=("backout_r", "backout_k"),
        )
        _begin(server, restored, start)
        yield Night(server, directory, worlds, before, migrated, undone, live, twin, log, states, xid)


def _migrate(server: RealServer, live: str, worlds: Sequence[World]) -> tuple[int, int]:
    """Publications, slot, and the migrations of all worlds in one transaction."""
    keyed = ", ".join(world.schema for world in worlds)
    keyless = ", ".join(f"{world.schema}_keyless" for world in worlds)
    with server.connect(live) as session:
        session.execute(
            f"""CREATE PUBLICATION backout_r FOR TABLES IN SCHEMA {keyed}
                WITH (publish_via_partition_root = true)""".encode()
        )
        session.execute(
            f"CREATE PUBLICATION backout_k FOR TABLES IN SCHEMA {keyless} WITH (publish = 'insert')".encode()
        )
        made = session.execute(
            "SELECT lsn::text FROM pg_create_logical_replication_slot(%s, 'pgoutput')", (f"backout_{live}",)
        ).fetchone()
        with session.transaction():
            for world in worlds:
                session.execute(world.up.encode())
            row = session.execute("SELECT pg_current_xact_id()::text").fetchone()
    assert made is not None
    assert row is not None
    return lsn_of(made[0]), int(row[0])


def _drop_slot(server: RealServer, live: str) -> None:
    with server.connect(live) as session:
        session.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s",
            (f"backout_{live}",),
        )


def _downs(worlds: Sequence[World]) -> str:
    return ";\n".join(world.down or "SELECT" for world in worlds)


def _begin(server: RealServer, database: str, start: int) -> None:
    with open_session(server.layout.conninfo(database), NAME) as admin:
        tables.make_tables(admin)
        memory.make_tables(admin)
        tables.begin_run(admin, INCIDENT, start)


def end_log(n: Night) -> None:
    """Nobody reads the log any more."""
    _drop_slot(n.server, n.live)


def merge_states(n: Night) -> Fates:
    """Strategy B without a guard: what two states tell of the writes, onto a restored database. Returns the
    fates of rows."""
    _begin(n.server, n.states, 1)
    with ExitStack() as stack:
        admin, before, migrated, live = (
            stack.enter_context(open_session(n.dsn(database), NAME))
            for database in (n.states, n.before, n.migrated, n.live)
        )
        lsn = flushed_lsn(live)
        for session in (migrated, live):
            stack.enter_context(steady(session))
        copies = effect.Copies(migrated, live, read_schema(migrated), read_schema(live))
        assert from_states.altered(copies.before_schema, copies.migrated_schema) == ()
        old = read_schema(before)
        with open_session(n.dsn(n.migrated), NAME) as reader:
            translation = _translation(admin, States(before, reader))
            target = open_target(n.dsn(n.states), NAME)
            parking = Parking(target.session, INCIDENT, INCIDENT, name=translation.named)

            def park(change, why) -> None:
                parking(change, why)
                memory.recount(target.session, INCIDENT, translation.fate(change))

            applier = Applier(target.session, tables.take_over(admin, INCIDENT), translation, park)
            stack.callback(applier.close)
            compared = from_states.compared_tables(old, copies.before_schema, frozenset())
            applier.add(from_states.transaction(copies, compared, lsn))
            applier.commit()
        return memory.fates(admin, INCIDENT)


def _translation(admin: Session, states: States) -> FromLog:
    mapped = log_tables(read_schema(states.before), read_schema(states.migrated))
    return FromLog(INCIDENT, INCIDENT, mapped, states, Signs(), memory.load(admin, INCIDENT))


def undo(n: Night) -> str:
    """The down on the live database, in one transaction; its xid (32 bit)."""
    with n.server.connect(n.live) as session:
        session.execute("DROP PUBLICATION backout_r; DROP PUBLICATION backout_k")
        session.execute("SELECT pg_current_xact_id()")
        with session.transaction():
            session.execute(_downs(n.worlds).encode())
            row = session.execute("SELECT pg_current_xact_id()::text").fetchone()
        assert row is not None
        return str(int(row[0]) & 0xFFFFFFFF)


def horizon(n: Night) -> str:
    """To be asked before the down."""
    with open_session(n.dsn(n.live), NAME) as session:
        return rights.horizon(session)


def repair(n: Night, before_the_down: str, down: str, undone_schema) -> decide.Repairable:
    """Strategy D: the rows that the migration changed, back in the live database after the down."""
    with ExitStack() as stack:
        before, migrated, live = (
            stack.enter_context(open_session(n.dsn(database), NAME))
            for database in (n.before, n.undone, n.live)
        )
        attempts.with_search_path_of_role(live)
        ensure_schema(live)
        done.ensure(live)
        parked.ensure(live)
        stack.enter_context(steady(before))
        stack.enter_context(steady(migrated))
        copies = effect.Copies(before, migrated, read_schema(before), read_schema(migrated))
        reach = decide.repairable(copies.before_schema, undone_schema, read_schema(live), frozenset())
        marks = Marks(before_the_down, str(n.xid & 0xFFFFFFFF), (down,))
        work = Repair(live, INCIDENT, marks, "", True, Budgets(), physical=True, rest=0)
        for table in reach.tables:
            sequences.lift(before, live, table)
        for table in reach.tables:
            repair_table(work, copies, table)
        for table in reach.tables:
            retry(work, table)
        wrong = {table.table: wrong_rows(work, copies, table) for table in reach.tables}
        assert not any(wrong.values()), {name: count for name, count in wrong.items() if count}
        return reach


def schema_of(n: Night, database: str):
    """What the catalog says."""
    with open_session(n.dsn(database), NAME) as session:
        return read_schema(session)
