"""Carry what was written on the new side back to the old one, each write exactly once, over the slot that was
armed for it.

Progress, rows and fates commit together on the old side; the slot is confirmed afterwards. So a process may
be killed anywhere, and the next one goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from backout.errors import Refused
from backout.model.changes import Change
from backout.model.fates import Fates
from backout.model.restore import RestorePlan
from backout.phases.lost_writes.back_map import back_tables
from backout.phases.lost_writes.following import Counting, Following, Route, Tokens, spill
from backout.phases.lost_writes.to_migrated import ToMigrated
from backout.ports.run import Run
from backout.ports.world import World
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
Watch = Callable[[Counting], Counting]


@dataclass(frozen=True, slots=True)
class Road:
    """From where to where, and under which names it is recorded."""

    new: str
    """Connection string of the side that is left; it needs REPLICATION there."""
    slot: str
    publications: tuple[str, ...]
    """Those that exist, as `SlotWayBack` made them."""
    old: str
    """Connection string of the side that traffic goes back to, with the migrated schema."""
    run: str
    """Name of the progress on the old side; one for each way back."""
    incident: str
    directory: Path
    """Takes what is too large for memory."""
    armed: str | None = None
    """See `slot.arming_snapshot`."""


@dataclass(frozen=True, slots=True)
class Carriage:
    """Everything that carries, open: hand `stream` and `applier` to whatever follows."""

    stream: Stream
    applier: Applier
    translation: ToMigrated
    admin: Session
    """A second session on the old side; to read the counters."""


def carry_back(road: Road, end: End, *, limits: Limits = _LIMITS, deadline: float | None = None) -> Fates:
    """Apply everything up to `end` to the old side; the fates of all writes of this run so far.

    Without an end it goes on for ever. Raises what `follow` raises, and `Refused` when writes would be
    missing or doubled. May be called again after anything.
    """
    with carriage(road) as open_:
        follow(open_.stream, open_.applier, end, road.directory, limits=limits, deadline=deadline)
        return memory.fates(open_.admin, road.run)


@contextmanager
def carriage(road: Road, watch: Watch = lambda same: same) -> Iterator[Carriage]:
    """Take the run over, from where it is durable, and open everything. `watch` may stand between the
    applier and the translation."""
    with ExitStack() as stack:
        new = stack.enter_context(open_session(road.new, application_name(road.incident, 1)))
        admin = stack.enter_context(open_session(road.old, application_name(road.incident, 2)))
        make_writable(admin)
        progress = _begin(road, new, admin)
        translation, names = _translation(road, new, admin)
        target = open_target(road.old, application_name(road.incident, 3))
        stack.callback(target.session.close)
        make_writable(target.session)
        _require_no_echo(target, admin)
        source = Source(
            *(road.new, road.slot, road.publications, progress.lsn, application_name(road.incident, 4)),
            road.armed,
        )
        stream = stack.enter_context(Stream(source))
        park = _park(Parking(target.session, road.run, road.incident, names), translation)
        applier = Applier(target.session, progress, watch(translation), park, alive=stream.tend)
        stack.callback(applier.close)
        yield Carriage(stream, applier, translation, admin)


def _begin(road: Road, new: Session, old: Session) -> Progress:
    """A run begins where the slot does: nothing is confirmed before its progress is durable."""
    tables.make_tables(old)
    memory.make_tables(old)
    if tables.read_progress(old, road.run) is None:
        tables.begin_run(old, road.run, read_slot(new, road.slot).confirmed_flush)
    return tables.take_over(old, road.run)


def _translation(road: Road, new: Session, old: Session) -> tuple[ToMigrated, dict[int, tuple[str, ...]]]:
    """The translation, and the columns by which people know the rows of each table."""
    schema = read_schema(new)
    mapped = back_tables(schema, read_schema(old), changed_since(new, road.publications))
    names = {table.oid: key_of(table) for table in schema.tables}
    signs = Signs(incidents=frozenset({road.incident}))
    return ToMigrated(road.run, road.incident, mapped, names, signs), names


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
def following_back(run: Run, world: World, plan: RestorePlan, slot: str, old: str) -> Iterator[FollowingBack]:
    """Writes of the new side go to the old one while the block runs. `old` enters it behind the fence."""
    new = copy_dsn(world, plan.new.database, plan.new.instance)
    with open_session(new, application_name(run.incident, 0)) as session:
        names = publications(session, slot)
    with spill() as directory, FollowingBack(_road(run, new, slot, names, old, directory)) as following:
        yield following


def _road(run: Run, new: str, slot: str, names: tuple[str, ...], old: str, directory: Path) -> Road:
    return Road(new, slot, names, old, slot, run.incident, directory)


def final(run: Run, old: str, slot: str) -> Fates:
    """What became of all writes made on the new side."""
    with open_session(old, application_name(run.incident, 0)) as session:
        return memory.fates(session, slot)


class FollowingBack(Following):
    """`ports.handover.Drain` for going back: from the side that traffic is on to the one that it left."""

    def __init__(self, road: Road) -> None:
        name = application_name(road.incident, 0)
        route = Route(
            *(road.new, road.slot, road.publications, road.armed, road.old, road.run, road.incident),
            *(road.directory, name),
        )
        super().__init__(route, _no_translation)
        self._road = road

    @contextmanager
    def _opened(self) -> Iterator[tuple[Stream, Applier]]:
        with carriage(self._road, self._tokens_of) as opened:
            yield opened.stream, opened.applier

    def _tokens_of(self, translation: Counting) -> Counting:
        self._tokens = Tokens(translation)
        return self._tokens


def _no_translation(session: Session, stack: ExitStack) -> Counting:
    raise AssertionError("the carriage makes its own")
