"""The work list of parked rows: families, another try, and the decision of a person; each row once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from backout.errors import Refused
from backout.model.fates import Fate, Reason
from backout.model.repair import RepairTable
from backout.phases.lost_writes.in_place import Repair, Work
from backout.postgres import parked
from backout.postgres.parked import Entry
from backout.postgres.repair import attempts, live
from backout.postgres.repair.effect import Changed
from backout.postgres.repair.rights import ForeignKey

_WORTH_ANOTHER_TRY = (Reason.CANNOT_APPLY, Reason.CHANGES_TOO_FAST)
APPLIED, LEFT, BEFORE = "applied on another try", "left as it is", "row of before written"
NOW = "row of now written"


def is_open(entry: Entry) -> bool:
    """Whether it still needs a person."""
    return entry.fate is Fate.PARKED and not entry.resolution


def families(entries: Sequence[Entry], keys: Iterable[ForeignKey]) -> dict[int, int]:
    """Number of an entry -> number of the root of its family: a parked parent parks its children."""
    by_row = {(e.relation, e.key): e for e in entries if e.fate is Fate.PARKED}
    child_keys = list(keys)

    def parent_of(entry: Entry) -> Entry | None:
        row = entry.before or {}
        for key in child_keys:
            if key.child == entry.relation and key.parent != entry.relation:
                wanted = tuple(str(row.get(here)) for here, _ in key.pairs)
                found = by_row.get((key.parent, wanted))
                if found is not None:
                    return found
        return None

    roots = {}
    for entry in entries:
        root, seen = entry, {entry.number}
        while (above := parent_of(root)) is not None and above.number not in seen:
            root, seen = above, seen | {above.number}
        roots[entry.number] = root.number
    return roots


def retry(repair: Repair, table: RepairTable) -> int:
    """Try refused rows of a table again, as often as one more of them goes in; how many went in."""
    went_in = 0
    while True:
        waiting = [
            entry
            for entry in parked.entries(repair.session, repair.incident, fate=Fate.PARKED)
            if entry.relation == table.table and is_open(entry) and entry.reason in _WORTH_ANOTHER_TRY
        ]
        applied = sum(_try_again(repair, table, entry) for entry in waiting)
        went_in += applied
        if not applied or applied == len(waiting):
            return went_in


def _try_again(repair: Repair, table: RepairTable, entry: Entry) -> bool:
    """One refused row, judged anew against what stands there now."""
    try:
        with attempts.transaction(repair.session, repair.settings):
            work = Work(repair, table)
            work.apply([Changed(_plain(entry.before), _plain(entry.migrated))])
            if any(made.fate is Fate.PARKED for made in work.entries):
                return False
            parked.store(repair.session, repair.incident, work.entries)
            return parked.resolve(repair.session, repair.incident, entry.number, "backout", APPLIED)
    except attempts.Busy:
        return False


def leave(repair: Repair, entry: Entry, person: str) -> None:
    """The decision that the live row stays as it is. Raises `Refused` when the entry was closed before."""
    with attempts.transaction(repair.session, repair.settings):
        _close(repair, entry, person, LEFT)


def take_before(repair: Repair, table: RepairTable, entry: Entry, person: str) -> None:
    """The decision that the row of before stands there, over what the application wrote; once."""
    if entry.before is None:
        raise _cannot(repair, entry, "there is no row of before: the migration made it")
    _write(repair, table, entry, person, entry.before, BEFORE)


def take_now(repair: Repair, table: RepairTable, entry: Entry, person: str, resolution: str = NOW) -> None:
    """The decision that what the application wrote stands there; once. For a restored database, where the
    row of before is the live one."""
    if entry.now is None:
        raise _cannot(repair, entry, "the application has deleted it: delete it by hand, then --take before")
    _write(repair, table, entry, person, entry.now, resolution)


def retry_now(repair: Repair, tables: Sequence[RepairTable]) -> int:
    """On a restored database: try again what was refused, as the application wrote it; how many went in."""
    known = {table.table: table for table in tables}
    went_in = 0
    for entry in parked.entries(repair.session, repair.incident, fate=Fate.PARKED):
        table = known.get(entry.relation)
        if table is not None and entry.now and is_open(entry) and entry.reason in _WORTH_ANOTHER_TRY:
            with suppress(Refused):
                take_now(repair, table, entry, "backout", APPLIED)
                went_in += 1
    return went_in


def set_value(
    repair: Repair, table: RepairTable, entry: Entry, person: str, column: str, value: str | None
) -> None:
    """The decision for one cell: a value that a person gives; once."""
    if column not in {c.name for c in live.columns_of(table)}:
        raise _cannot(repair, entry, f"{table.table} has no column {column}")
    base = {} if entry.now is not None else dict(entry.before or {})
    _write(repair, table, entry, person, base | {column: value}, f"{column} set by hand")


def _write(
    repair: Repair, table: RepairTable, entry: Entry, person: str, values: parked.Row, resolution: str
) -> None:
    try:
        with attempts.transaction(repair.session, repair.settings):
            _close(repair, entry, person, resolution)
            now = live.read(repair.session, table, [entry.key], live.Marks()).get(entry.key)
            living = {column.name for column in live.columns_of(table)}
            wanted = {name: value for name, value in values.items() if name in living}
            if now is not None:
                wanted = {name: value for name, value in wanted.items() if now.values[name] != value}
            if now is not None and not wanted:
                return
            change = live.Change(entry.key, wanted, "" if now is None else now.version)
            with attempts.savepoint(repair.session):
                if not live.write(repair.session, table, [change]):
                    taken = "another row holds its key or one of its unique values"
                    busy = "the row was written at this very moment: type it again"
                    raise _cannot(repair, entry, busy if change.version else taken)
    except attempts.RowRefused as refused:
        raise _cannot(repair, entry, f"the database refuses it: {refused}") from None
    except attempts.Busy as busy:
        raise _cannot(repair, entry, f"the row is locked: {busy}") from None


def _close(repair: Repair, entry: Entry, person: str, resolution: str) -> None:
    if not parked.resolve(repair.session, repair.incident, entry.number, person, resolution):
        raise Refused(
            f"{entry.relation} {', '.join(entry.key)} was resolved before",
            where=repair.incident,
            intact="everything; nothing was written a second time",
            next=f"backout parked list {repair.incident}",
        )


def _cannot(repair: Repair, entry: Entry, why: str) -> Refused:
    return Refused(
        why,
        where=f"{entry.relation} {', '.join(entry.key)}",
        intact="the live row, and both versions in the list",
        next=f"backout parked show {repair.incident} {entry.number}",
    )


def _plain(row: parked.Row | None) -> dict[str, str | None] | None:
    return None if row is None else dict(row)


def numbered(entries: Sequence[Entry], number: int, incident: str) -> Entry:
    """The entry of this number; raises `Refused` naming those there are."""
    for entry in entries:
        if entry.number == number:
            return entry
    raise Refused(
        f"no entry {number}",
        where=incident,
        intact="everything",
        next=f"backout parked list {incident}",
    )
