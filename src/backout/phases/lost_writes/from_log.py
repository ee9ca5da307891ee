"""Carry the writes made since the migration from the log onto the restored old state, each exactly once.

Every change is judged by the one merge: the row before the migration, just after it, and as the application
has left it now. The two former come from the restored states, which nobody writes to, so nothing has to be
remembered but keys that mean another row since.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from backout.merge.rows import Judgement, Result, Row, Triple, judge
from backout.model.changes import Change, ChangeKind, RowChange, Transaction, Truncation
from backout.model.fates import Fate, Reason
from backout.model.mapping import Mapping as ColumnMapping
from backout.model.repair import RepairColumn, RepairTable
from backout.phases.lost_writes.log_map import LogTable
from backout.postgres.connect import Session
from backout.postgres.decoding.recognise import Signs, recognise
from backout.postgres.names import qualified
from backout.postgres.parked import Entry
from backout.postgres.repair import live, rights
from backout.postgres.writes import memory
from backout.postgres.writes.memory import Key, Known, Standing
from backout.postgres.writes.parking import Named
from backout.postgres.writes.statements import Write, delete_query, insert_query, truncate_query, update_query

_CHUNK = 500
"""Changes whose former states are looked up together."""
_WHOLE_TABLE: Key = ()


@dataclass(frozen=True, slots=True)
class States:
    """The two restored states; both sessions are the reader's own."""

    before: Session
    migrated: Session


@dataclass(frozen=True, slots=True)
class _Row:
    """One change, and the row that it is about in the states before and after the migration."""

    change: RowChange
    table: LogTable
    key: Key
    """Before the change."""
    new_key: Key
    """After it; the same unless the application gave the row another key."""
    now: Row | None
    """Under the names of the old schema; None = deleted. Values that the log leaves out are missing."""


@dataclass(frozen=True, slots=True)
class _Parent:
    """A table that rows of another one belong to, and the columns there that say to which row."""

    table: LogTable
    columns: tuple[str, ...]
    """Of the child, in the order of the parent's key; names of the old schema."""

    def place(self, now: Row) -> _Place | None:
        """The parent of this row; None when it has none, or the log leaves it out."""
        key = tuple(now.get(name) for name in self.columns)
        return None if None in key else (self.table.target.table, tuple(map(str, key)))


_Place = tuple[str, Key]
_REMEMBERED = 100_000
"""Rows whose former states are kept in memory; nobody writes to those states, so they never go stale."""


@dataclass
class _Former:
    """Former states of rows: (before, just after) by table and key."""

    rows: dict[_Place, tuple[Row | None, Row | None]] = field(default_factory=dict)

    def of(self, place: _Place) -> tuple[Row | None, Row | None]:
        """Both states of one row that was looked up."""
        return self.rows[place]

    def trim(self) -> None:
        """Forget the oldest half when there are too many."""
        if len(self.rows) > _REMEMBERED:
            self.rows = dict(islice(self.rows.items(), len(self.rows) // 2, None))


class FromLog:
    """A `Translation` (see `postgres/writes/apply.py`): from the migrated schema to the old one."""

    def __init__(
        self,
        run: str,
        incident: str,
        tables: Mapping[int, LogTable],
        states: States,
        signs: Signs,
        known: dict[tuple[str, Key], Known],
    ) -> None:
        """`known` is what an earlier process remembered (see `memory.load`)."""
        self._run = run
        self._incident = incident
        self._tables = tables
        self._states = states
        self._signs = signs
        self._durable = known
        self._former = _Former()
        self._open: dict[tuple[str, Key], Known] = {}
        self._parents = _parents(states.before, tables)
        self._fates = dict[tuple[int, int], Fate]()
        """Of the changes of this window, where it is not the usual one; by commit and place in it."""

    def prepare(self, transactions: Sequence[Transaction]) -> None:
        """Look up the former states of all their rows at once: many small transactions, few questions."""
        small = (one for one in transactions if one.count <= _CHUNK and recognise(one, self._signs) is None)
        rows = [self._placed(change) for one in small for change in one.changes]
        self._look_up([row for row in rows if isinstance(row, _Row)])

    def writes(self, transaction: Transaction) -> Iterator[Write]:
        """The statements of one transaction; of the migration's own there are none."""
        if recognise(transaction, self._signs) is not None:
            return
        fates: deque[Fate] = deque()
        changes = iter(transaction.changes)
        while some := list(islice(changes, _CHUNK)):
            yield from self._some(some, fates)
        if fates:
            yield memory.count(self._run, fates)

    def rolled_back(self) -> None:
        """Forget what was learnt in this window."""
        self._open.clear()
        self._fates.clear()

    def committed(self) -> None:
        """What was learnt is durable."""
        self._durable |= self._open
        self._open.clear()
        self._fates.clear()

    def fate(self, change: Change) -> Fate:
        """The one under which a change of this window is counted, unless the target refuses it."""
        return self._fates.get((change.commit_lsn, change.sequence), Fate.CARRIED)

    def named(self, change: RowChange) -> Named | None:
        """The row of a refused change as people know it on the target; None = it has no place there."""
        row = self._placed(change)
        if not isinstance(row, _Row):
            return None
        self._look_up([row])
        before, migrated = self._former.of((row.table.target.table, self._origin(row)))
        return Named(row.table.target.table, row.key, before, migrated, row.now)

    def _count(self, change: Change, fate: Fate, fates: deque[Fate]) -> None:
        fates.append(fate)
        if fate is not Fate.CARRIED:
            self._fates[change.commit_lsn, change.sequence] = fate

    def _some(self, changes: Sequence[Change], fates: deque[Fate]) -> Iterator[Write]:
        rows = [self._placed(change) for change in changes]
        self._look_up([row for row in rows if isinstance(row, _Row)])
        for row in rows:
            if isinstance(row, _Row):
                yield from self._row(row, fates)
            elif isinstance(row, Truncation):
                yield from self._truncation(row, fates)
            else:
                yield from self._without_place(row, fates)

    def _placed(self, change: Change) -> _Row | Truncation | RowChange:
        if not isinstance(change, RowChange):
            return change
        table = self._tables.get(change.relation.oid)
        if table is None or not table.target.key:
            return change
        old = tuple(str(value) for value in change.key(table.source.key))
        if change.kind is ChangeKind.DELETE:
            return _Row(change, table, old, old, None)
        now = table.renamed(change.new_values())
        new = tuple(str(now[name]) for name in table.target.key)
        return _Row(change, table, new if change.kind is ChangeKind.INSERT else old, new, now)

    def _look_up(self, rows: Sequence[_Row]) -> None:
        """The former states of the rows that these changes are about, a query a table and state."""
        self._former.trim()
        wanted: dict[str, tuple[LogTable, set[Key]]] = {}
        for table, key in (place for row in rows for place in self._asked(row)):
            name = table.target.table
            if (name, key) not in self._former.rows:
                wanted.setdefault(name, (table, set()))[1].add(key)
        for name, (table, keys) in wanted.items():
            listed = list(keys)
            old = live.read_fitting(self._states.before, _of_before(table), listed)
            new = live.read_fitting(self._states.migrated, table.source, listed)
            for key in listed:
                before, migrated = old.get(key), new.get(key)
                self._former.rows[name, key] = (
                    before.values if before else None,
                    table.renamed(migrated.values) if migrated else None,
                )

    def _asked(self, row: _Row) -> Iterator[tuple[LogTable, Key]]:
        """The rows whose former states decide about this change."""
        for key in {row.key, row.new_key, self._origin(row)}:
            yield row.table, key
        for parent in self._parents.get(row.table.target.table, ()) if row.now is not None else ():
            place = parent.place(row.now or {})
            if place is not None:
                yield parent.table, place[1]

    def _known(self, table: str, key: Key) -> Known | None:
        for place in ((table, key), (table, _WHOLE_TABLE)):
            known = self._open.get(place) or self._durable.get(place)
            if known is not None:
                return known
        return None

    def _origin(self, row: _Row) -> Key:
        known = self._known(row.table.target.table, row.key)
        return known.origin if known is not None and known.standing is Standing.MOVED else row.key

    def _remember(self, table: str, key: Key, known: Known) -> Write:
        self._open[table, key] = known
        return memory.remember(self._run, table, key, known)

    def _row(self, row: _Row, fates: deque[Fate]) -> Iterator[Write]:
        name = row.table.target.table
        known = self._known(name, row.key)
        if known is not None and known.standing is Standing.PARKED:
            yield from self._parked(row, Reason.KEY_REUSED, fates)
            return
        before, migrated = self._former.of((name, self._origin(row)))
        reborn = known is not None and known.standing is Standing.REBORN
        if reborn or (row.change.kind is ChangeKind.INSERT and migrated is not None):
            before = migrated = None
        if row.now is None:
            yield from self._deleted(row, before, migrated, fates)
        else:
            yield from self._stored(row, row.now, before, migrated, fates)

    def _deleted(
        self, row: _Row, before: Row | None, migrated: Row | None, fates: deque[Fate]
    ) -> Iterator[Write]:
        name, target = row.table.target.table, row.table.target
        yield self._remember(name, row.key, Known(Standing.REBORN))
        if before is None and migrated is not None:  # the migration's own row: it was never on the target
            fates.append(Fate.CARRIED)
            return
        if before is not None and migrated is None:  # stored again as it had been, and deleted again
            fates.append(Fate.CARRIED)
            return
        schema, table = _parts(row.table)
        yield Write(delete_query(schema, table, target.key), row.key, 1, row.change)
        judgement = None if before is None else judge(Triple(before, migrated, None), row.table.columns)
        yield from self._settled(row, judgement, before, migrated, fates)

    def _stored(
        self,
        row: _Row,
        now: Row,
        before: Row | None,
        migrated: Row | None,
        fates: deque[Fate],
    ) -> Iterator[Write]:
        columns = tuple(c for c in row.table.columns if c.name in now or c.mapping is ColumnMapping.DROPPED)
        judgement = judge(Triple(before, migrated, now, True, None), columns)
        if judgement.result is Result.STAY:
            assert judgement.reason is not None
            yield from self._parked(row, judgement.reason, fates)
            return
        values = {
            name: value
            for name, value in judgement.values.items()
            if name in now and (before is None or name in before)
        }
        if row.new_key != row.key and (why := self._why_not_moved(row, judgement)):
            yield from self._parked(row, why, fates)
            return
        if self._is_orphan(row, now, before):
            yield from self._parked(row, Reason.NO_PARENT, fates)
            return
        yield from self._sent(row, values, before, migrated)
        yield from self._settled(row, judgement, before, migrated, fates)

    def _sent(
        self, row: _Row, values: dict[str, str | None], before: Row | None, migrated: Row | None
    ) -> Iterator[Write]:
        schema, name = _parts(row.table)
        if row.change.kind is ChangeKind.INSERT:
            if before is None:
                yield Write(insert_query(schema, name, tuple(values)), tuple(values.values()), 1, row.change)
            return  # deleted by the migration and stored again just as it was: it is there
        if row.new_key != row.key:
            was = self._origin(row) if before is not None or migrated is not None else row.key
            moved = Known(Standing.MOVED, was) if before is not None else Known(Standing.REBORN)
            yield self._remember(row.table.target.table, row.key, Known(Standing.REBORN))
            yield self._remember(row.table.target.table, row.new_key, moved)
        values = _changed(row, values, before)
        if values:
            query = update_query(schema, name, tuple(values), row.table.target.key)
            yield Write(query, (*values.values(), *row.key), 1, row.change)

    def _settled(
        self,
        row: _Row,
        judgement: Judgement | None,
        before: Row | None,
        migrated: Row | None,
        fates: deque[Fate],
    ) -> Iterator[Write]:
        """Count the write, and show the row to people where a value has no place or was decided by rule."""
        fate = (judgement.fate if judgement is not None else None) or Fate.CARRIED
        self._count(row.change, fate, fates)
        if judgement is None:
            return
        for shown, columns, usual in (
            (Fate.ARCHIVED, judgement.archived, Reason.NO_PLACE),
            (Fate.LISTED, judgement.listed, Reason.BOTH_WROTE),
            (Fate.PARKED, judgement.parked, Reason.NOT_CONVERTIBLE),
        ):
            if columns or (shown is fate and judgement.reason):  # without columns it is the row as a whole
                reason = judgement.reason if shown is fate and judgement.reason else usual
                yield self._tell(row, shown, reason, columns, before, migrated)

    def _why_not_moved(self, row: _Row, judgement: Judgement) -> Reason | None:
        """Why the row cannot follow the application to another key on the target; None = it can."""
        if set(row.table.target.key) & set(judgement.parked):
            return Reason.NOT_CONVERTIBLE
        return Reason.KEY_REUSED if self._is_taken(row) else None

    def _is_taken(self, row: _Row) -> bool:
        """Whether another row stands on the target under the key that this one gets: the migration had
        deleted it, or it could not follow the application to another key itself."""
        place = row.table.target.table, row.new_key
        known = self._known(*place)
        if known is not None:
            return known.standing is Standing.PARKED
        before, migrated = self._former.of(place)
        return before is not None and migrated is None

    def _is_orphan(self, row: _Row, now: Row, before: Row | None) -> bool:
        """Whether the row would belong to one that the target does not have, or has as another one."""
        for parent in self._parents.get(row.table.target.table, ()):
            place = parent.place(now)
            if place is None or (before is not None and parent.place(before) == place):
                continue
            known = self._known(*place)
            before, migrated = self._former.of(place)
            made_by_migration = known is None and before is None and migrated is not None
            if made_by_migration or (known is not None and known.standing is Standing.PARKED):
                return True
        return False

    def _parked(self, row: _Row, reason: Reason, fates: deque[Fate]) -> Iterator[Write]:
        """The row waits for a person, and so does a later one under the key that it gave up: on the target
        it still has it."""
        name = row.table.target.table
        self._count(row.change, Fate.PARKED, fates)
        before, migrated = self._former.of((name, self._origin(row)))
        for key in {row.key, row.new_key}:
            yield self._remember(name, key, Known(Standing.PARKED))
        yield self._tell(row, Fate.PARKED, reason, (), before, migrated)

    def _tell(
        self,
        row: _Row,
        fate: Fate,
        reason: Reason,
        columns: Sequence[str],
        before: Row | None,
        migrated: Row | None,
    ) -> Write:
        entry = Entry(
            *(fate, row.table.target.table, row.new_key, reason, "", tuple(columns)),
            *(before, migrated, row.now),
        )
        return memory.tell(self._incident, entry)

    def _without_place(self, change: RowChange, fates: deque[Fate]) -> Iterator[Write]:
        """A table that the migration made, or one whose rows have no key."""
        table = self._tables.get(change.relation.oid)
        if table is not None and change.kind is ChangeKind.INSERT:
            yield from self._added(change, table, fates)
            return
        fate = Fate.ARCHIVED if table is None else Fate.PARKED
        reason = Reason.NO_PLACE if table is None else Reason.NO_KEY
        self._count(change, fate, fates)
        row = change.new_values() or change.old_values()
        key = [row[name] for name in change.relation.key if name in row]
        known = tuple(str(value) for value in key) or (f"{change.commit_lsn:X}#{change.sequence}",)
        name = qualified(change.relation.schema, change.relation.name)
        now = None if change.kind is ChangeKind.DELETE else row
        yield memory.tell(self._incident, Entry(fate, name, known, reason, "", (), None, None, now))

    def _added(self, change: RowChange, table: LogTable, fates: deque[Fate]) -> Iterator[Write]:
        """A new row of a table without a key: it needs none."""
        place = (f"{change.commit_lsn:X}#{change.sequence}",)
        row = _Row(change, table, place, place, table.renamed(change.new_values()))
        judgement = judge(Triple(None, None, row.now, True, None), table.columns)
        if judgement.result is Result.STAY:
            self._count(change, Fate.PARKED, fates)
            yield self._tell(row, Fate.PARKED, judgement.reason or Reason.NO_KEY, (), None, None)
            return
        yield from self._sent(row, dict(judgement.values), None, None)
        yield from self._settled(row, judgement, None, None, fates)

    def _truncation(self, change: Truncation, fates: deque[Fate]) -> Iterator[Write]:
        """The application emptied tables: repeated in its place, and shown."""
        there = [self._tables[relation.oid] for relation in change.relations if relation.oid in self._tables]
        for table in there:
            name = table.target.table
            yield self._remember(name, _WHOLE_TABLE, Known(Standing.REBORN))
            entry = Entry(Fate.LISTED, name, ("every row",), Reason.TRUNCATED, "", (), None, None, None)
            yield memory.tell(self._incident, entry)
        self._count(change, Fate.LISTED if there else Fate.ARCHIVED, fates)
        for relation in change.relations if not there else ():
            name = qualified(relation.schema, relation.name)
            entry = Entry(Fate.ARCHIVED, name, ("every row",), Reason.NO_PLACE, "", (), None, None, None)
            yield memory.tell(self._incident, entry)
        if there:
            parts = [_parts(table) for table in there]
            yield Write(truncate_query(parts, restart_identity=change.restart_identity), (), None, change)


def _parents(before: Session, tables: Mapping[int, LogTable]) -> dict[str, tuple[_Parent, ...]]:
    """By the name of the child in the old schema. Foreign keys to anything but the key by which rows are
    known are left out: what they break is counted at the end."""
    by_name = {table.target.table: table for table in tables.values()}
    found: dict[str, tuple[_Parent, ...]] = {}
    for name, child in by_name.items():
        for key in rights.foreign_keys(before, child.target):
            parent, ours = by_name.get(key.parent), {there: here for here, there in key.pairs}
            if key.child == name and parent is not None and ours.keys() == set(parent.target.key):
                made = _Parent(parent, tuple(ours[column] for column in parent.target.key))
                found[name] = (*found.get(name, ()), made)
    return found


def _changed(row: _Row, values: Row, before: Row | None) -> dict[str, str | None]:
    """Without the key of a row that keeps it, and the numbers that no UPDATE may set: the application cannot
    have changed those, or it is refused and parked."""
    still: dict[str, str | None] = dict(zip(row.table.target.key, row.key, strict=True))
    for name in row.table.fixed - still.keys():
        still[name] = (values if before is None else before).get(name)
    return {name: value for name, value in values.items() if name not in still or value != still[name]}


def _of_before(table: LogTable) -> RepairTable:
    """The table as the state before has it: without what was added, with what was dropped."""
    columns = tuple(
        RepairColumn(c.name, c.type, ColumnMapping.SAME, c.needs_value)
        for c in table.target.columns
        if c.mapping is not ColumnMapping.ADDED
    )
    return RepairTable(table.target.table, table.target.key, columns)


def _parts(table: LogTable) -> tuple[str, str]:
    return table.schema, table.name
