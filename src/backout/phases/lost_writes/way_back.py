"""Carry what was written on the new side back to the old one, each write exactly once, over the slot that was
armed for it.

Progress, rows and fates commit together on the old side; the slot is confirmed afterwards. So a process may
be killed anywhere, and the next one goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from backout.errors import Refused
from backout.model.changes import Change
from backout.model.fates import Fates
from backout.model.restore import RestorePlan
from backout.phases.lost_writes.back_map import back_tables
from backout.phases.lost_writes.following import Following, Route, Watch, spill
from backout.phases.lost_writes.to_migrated import ToMigrated
from backout.ports.run import Run
from backout.ports.world import World
from backout.postgres import own_schema
from backout.postgres.catalog import Schema, key_of, read_schema
from backout.postgres.connect import Session, open_session, place_of
from backout.postgres.decoding.recognise import Signs
from backout.postgres.decoding.slot import read_slot
from backout.postgres.decoding.stream import Source, Stream
from backout.postgres.decoding.transactions import End
from backout.postgres.names import application_name
from backout.postgres.routing import make_writable
from backout.postgres.stage import copy_dsn
from backout.postgres.way_back import changed_since, publications
from backout.postgres.writes import memory, tables
from backout.postgres.writes.apply import Applier, Target, open_target
from backout.postgres.writes.follow import Limits, follow
from backout.postgres.writes.parking import Parking, Rejection
from backout.postgres.writes.tables import Progress

_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Carriage:
    """Everything that carries, open: hand `stream` and `applier` to whatever follows."""

    stream: Stream
    applier: Applier
    translation: ToMigrated
    admin: Session
    """A second session on the old side; to read the counters."""


def carry_back(route: Route, end: End, *, limits: Limits = _LIMITS, deadline: float | None = None) -> Fates:
    """Apply everything up to `end` to the old side; the fates of all writes of this run so far.

    Without an end it goes on for ever. Raises what `follow` raises, and `Refused` when writes would be
    missing or doubled. May be called again after anything.
    """
    with carriage(route) as open_:
        follow(open_.stream, open_.applier, end, route.directory, limits=limits, deadline=deadline)
        return memory.fates(open_.admin, route.run)


@contextmanager
def carriage(route: Route, watch: Watch = lambda same: same) -> Iterator[Carriage]:
    """Take the run over, from where it is durable, and open everything. `watch` may stand between the
    applier and the translation."""
    with ExitStack() as stack:
        new = stack.enter_context(open_session(route.reads, route.name))
        admin = stack.enter_context(open_session(route.writes, route.name))
        make_writable(admin)
        progress = _begin(route, new, admin)
        translation, names = _translation(route, new, admin)
        target = open_target(route.writes, route.name)
        stack.callback(target.session.close)
        make_writable(target.session)
        _require_no_echo(target, admin)
        source = Source(
            *(route.reads, route.slot, route.publications, progress.lsn, route.name),
            route.armed,
        )
        stream = stack.enter_context(Stream(source))
        park = _park(Parking(target.session, route.run, route.incident, names), translation)
        applier = Applier(target.session, progress, watch(translation), park, alive=stream.tend)
        stack.callback(applier.close)
        yield Carriage(stream, applier, translation, admin)


def _begin(route: Route, new: Session, old: Session) -> Progress:
    """A run begins where the slot does: nothing is confirmed before its progress is durable."""
    tables.make_tables(old)
    memory.make_tables(old)
    if tables.read_progress(old, route.run) is None:
        tables.begin_run(old, route.run, read_slot(new, route.slot).confirmed_flush)
    return tables.take_over(old, route.run)


def _translation(route: Route, new: Session, old: Session) -> tuple[ToMigrated, dict[int, tuple[str, ...]]]:
    """The translation, and the columns by which people know the rows of each table."""
    schema = read_schema(new)
    mapped = back_tables(schema, read_schema(old), changed_since(new, route.publications))
    names = {table.oid: key_of(table) for table in schema.tables}
    signs = Signs(incidents=frozenset({route.incident}))
    return ToMigrated(route.run, route.incident, mapped, names, signs), names


def _park(parking: Parking, translation: ToMigrated) -> Callable[[Change, Rejection], None]:
    """Park a refused change, count it so, and keep later writes off the row that stands in its place."""

    def park(change: Change, why: Rejection) -> None:
        parking(change, why)
        memory.recount(parking.session, parking.run, translation.fate(change))
        claimed = translation.claimed(change)
        if claimed is not None:
            table, key = claimed
            memory.keep_off(parking.session, parking.run, table.place, key)

    return park


def _require_no_echo(target: Target, old: Session) -> None:
    """What a trigger of the application wrote on the new side comes over by itself."""
    if target.bypasses or not _triggers(read_schema(old)):
        return
    raise Refused(
        "the role cannot silence triggers: what they write would stand there twice",
        where=place_of(old),
        intact="everything; nothing was carried back, and the slot keeps it",
        next="GRANT SET ON PARAMETER session_replication_role to this role there, then: backout resume",
    )


def _triggers(schema: Schema) -> bool:
    return any(other.kind == "trigger" for other in schema.others)


@contextmanager
def following_back(run: Run, world: World, plan: RestorePlan, slot: str, old: str) -> Iterator[Following]:
    """Writes of the new side go to the old one while the block runs. `old` enters it behind the fence."""
    new = copy_dsn(world, plan.new.database, plan.new.instance)
    with open_session(new, application_name(run.incident, 0)) as session:
        names = publications(session, slot)
    with spill() as directory:
        name = application_name(run.incident, 0)
        route = Route(new, slot, names, None, old, slot, run.incident, directory, name)
        with Following(route, lambda watch: _ends(route, watch)) as following:
            yield following


@contextmanager
def _ends(route: Route, watch: Watch) -> Iterator[tuple[Stream, Applier]]:
    with carriage(route, watch) as opened:
        yield opened.stream, opened.applier


def final(run: Run, old: str, slot: str, role: str) -> Fates:
    """What became of all writes made on the new side. The lists belong to `role` from now on, who does not
    get over the fence: it is open again."""
    with open_session(old, application_name(run.incident, 0)) as session:
        own_schema.hand_over(session, role)
        return memory.fates(session, slot)
