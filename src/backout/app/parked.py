"""The verbs about parked rows: list, show, retry, resolve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backout.app import lock
from backout.app.aftermath import executed_proposal, world_after
from backout.app.containment import next_prefix
from backout.app.desk import Desk
from backout.app.results import ParkedDone, ParkedList, ParkedRow, ParkedShown
from backout.app.signing import How, one_signature
from backout.errors import ConfigurationError, Refused
from backout.model.execution import Execution
from backout.model.incident import Incident
from backout.model.repair import RepairTable
from backout.phases.lost_writes import parking
from backout.phases.lost_writes.in_place import Repair
from backout.postgres import parked
from backout.postgres.repair import attempts
from backout.postgres.repair.live import Marks
from backout.postgres.repair.rights import foreign_keys

NAME = "backout/parked"
TAKES = ("now", "before")


@dataclass(frozen=True, slots=True)
class _List:
    """The work list of one incident, read from its target."""

    repair: Repair
    tables: tuple[RepairTable, ...]
    anew: bool
    """Of a restored database: there the row of before is the live one, and that of now waits."""
    entries: tuple[parked.Entry, ...]
    roots: dict[int, int]

    def rows(self) -> tuple[ParkedRow, ...]:
        return tuple(self.row(entry) for entry in self.entries)

    def row(self, entry: parked.Entry) -> ParkedRow:
        return ParkedRow(
            *(entry.number, self.roots[entry.number], entry.fate.value, entry.relation, entry.key),
            *(entry.columns, entry.reason.value, entry.detail, entry.as_of, entry.resolution),
        )

    def table(self, relation: str) -> RepairTable:
        for table in self.tables:
            if table.table == relation:
                return table
        raise Refused(
            f"{relation} has no rows with a key in the backed-out database",
            where=self.repair.incident,
            intact="both versions in the list",
            next=f"backout parked list {self.repair.incident}",
        )

    def retry(self) -> int:
        """Try refused rows again; how many went in."""
        if self.anew:
            return parking.retry_now(self.repair, self.tables)
        return sum(parking.retry(self.repair, table) for table in self.tables)


@contextmanager
def _work_list(desk: Desk, incident: Incident) -> Iterator[_List]:
    done = desk.result(incident.id, "execution.down", Execution)
    if done is None:
        raise _nothing(incident)
    proposal = executed_proposal(desk, incident.id, done)
    plan, anew = proposal.repair, proposal.restore
    tables = plan.tables if plan is not None else anew.forecast.tables if anew is not None else ()
    if not tables:
        raise _nothing(incident)
    world = world_after(desk, incident, done)
    with world.databases.operate(NAME) as session:
        attempts.with_search_path_of_role(session)
        label, quiet = (plan.source.label, plan.quiet_triggers) if plan is not None else ("", False)
        repair = Repair(session, incident.id, Marks(), label, quiet, world.budgets)
        entries = parked.entries(session, incident.id)
        keys = [key for table in tables for key in foreign_keys(session, table)]
        yield _List(repair, tables, anew is not None, entries, parking.families(entries, keys))


def _nothing(incident: Incident) -> Refused:
    return Refused(
        "nothing was repaired or carried over in this incident",
        where=incident.target,
        intact="everything",
        next=f"backout status {incident.id}",
    )


def listed(desk: Desk, incident_id: str) -> ParkedList:
    """Every parked and listed row, in families."""
    incident = desk.incident(incident_id)
    with _work_list(desk, incident) as work:
        waiting = [entry for entry in work.entries if parking.is_open(entry)]
        following = f"backout parked show {incident.id} {waiting[0].number}" if waiting else "nothing"
        return ParkedList(incident.id, work.rows(), len(waiting), following)


def show(desk: Desk, incident_id: str, number: int, *, reveal: bool) -> ParkedShown:
    """One row in its three states; values only when they were asked for."""
    incident = desk.incident(incident_id)
    with _work_list(desk, incident) as work:
        entry = parking.numbered(work.entries, number, incident.id)
        following = f"backout parked resolve {incident.id} {number} --take now|before --as NAME"
        return ParkedShown(
            incident.id,
            work.row(entry),
            _told(entry.before, reveal=reveal),
            _told(entry.migrated, reveal=reveal),
            _told(entry.now, reveal=reveal),
            following if parking.is_open(entry) else f"backout parked list {incident.id}",
        )


def _told(row: parked.Row | None, *, reveal: bool) -> dict[str, str] | None:
    if row is None:
        return None
    return {name: _cell(value, reveal=reveal) for name, value in row.items()}


def _cell(value: str | None, *, reveal: bool) -> str:
    if value is None:
        return "NULL"
    return value if reveal else f"({len(value)} characters)"


def retry(desk: Desk, incident_id: str) -> ParkedDone:
    """Try refused rows again: covered by the approvals of the plan, and nothing is overlaid."""
    incident = desk.incident(incident_id)
    with lock.worker(desk.app.state, "parked retry", desk.actor), _work_list(desk, incident) as work:
        applied = work.retry()
    run = desk.story(incident.id, next_prefix(desk, incident.id, "parked"))
    run.decide("retried", {"applied": applied})
    return _done(desk, incident, applied)


@dataclass(frozen=True, slots=True)
class ToResolve:
    """A decision about one row, and the text that a person signs."""

    incident: Incident
    number: int
    take: str
    column: str
    value: str | None
    message: str
    next: str


def ask(desk: Desk, incident_id: str, number: int, take: str, column: str, value: str | None) -> ToResolve:
    """What would be decided; only reads. Either `take` or `column` with its value."""
    incident = desk.incident(incident_id)
    if bool(take) == bool(column) or (take and take not in TAKES):
        raise ConfigurationError(
            "give either --take now, --take before or --set COLUMN",
            where=incident.target,
            intact="everything",
            next=f"backout parked show {incident.id} {number}",
        )
    with _work_list(desk, incident) as work:
        entry = parking.numbered(work.entries, number, incident.id)
        name = f"{entry.relation} {', '.join(entry.key)}"
        live = "before" if work.anew else "now"
    what = "the live row stays as it is" if take == live else f"the row of {take} is written over it"
    message = (
        f"You decide about a parked row\n  incident {incident.id}\n  on {incident.target}\n"
        f"  {name}: {what if take else f'{column} gets the value that you give'}\n"
    )
    option = f"--take {take}" if take else f"--set {column}"
    again = f"backout parked resolve {incident.id} {number}"
    return ToResolve(incident, number, take, column, value, message, f"{again} {option} --as NAME")


def resolve(desk: Desk, asked: ToResolve, person: str, how: How) -> ParkedDone:
    """Carry the decision out, once, after one signature of an enrolled person."""
    again = f"{asked.next.replace('NAME', person)} --key FILE"
    key = one_signature(desk, asked.incident, asked.message, person, how, again=again)
    incident = asked.incident
    with lock.worker(desk.app.state, "parked resolve", desk.actor), _work_list(desk, incident) as work:
        entry = parking.numbered(work.entries, asked.number, incident.id)
        act = _act(work, entry, asked, person)
        act()
        run = desk.story(incident.id, next_prefix(desk, incident.id, "parked"))
        told = {"person": person, "key": key, "row": asked.number, "take": asked.take, "set": asked.column}
        run.decide("resolved", told)
    return _done(desk, incident, 1)


def _act(work: _List, entry: parked.Entry, asked: ToResolve, person: str) -> Callable[[], None]:
    if asked.take == ("before" if work.anew else "now"):
        return lambda: parking.leave(work.repair, entry, person)
    table = work.table(entry.relation)
    if asked.take == "now":
        return lambda: parking.take_now(work.repair, table, entry, person)
    if asked.take == "before":
        return lambda: parking.take_before(work.repair, table, entry, person)
    return lambda: parking.set_value(work.repair, table, entry, person, asked.column, asked.value)


def _done(desk: Desk, incident: Incident, applied: int) -> ParkedDone:
    answer = listed(desk, incident.id)
    return ParkedDone(incident.id, applied, answer.open, answer.next)
