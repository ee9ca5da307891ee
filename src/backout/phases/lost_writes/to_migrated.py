"""Carry writes of the new side back to the old one: from the old schema to the migrated one.

A `Translation` without memory and without look-ups: what it says of a change follows from the change alone.
A row that the other side may lack is updated by its key; a window in which that hits nothing is repeated
with statements that store the whole row then. Not by INSERT … ON CONFLICT: PostgreSQL checks the whole
proposed row before it looks for the conflict, so a NOT NULL column that only the migrated table has would
refuse an update of a row that is there; and it would take any row that has the key for the application's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backout.model.changes import (
    UNCHANGED,
    Change,
    ChangedRelation,
    ChangeKind,
    OldImage,
    RowChange,
    Transaction,
    Truncation,
)
from backout.model.fates import Fate, Reason, gravest
from backout.phases.lost_writes.back_map import BackTable
from backout.postgres.decoding.recognise import Signs, recognise
from backout.postgres.names import KEPT_SCHEMA, STATE_SCHEMA, qualified
from backout.postgres.parked import Entry
from backout.postgres.writes import memory
from backout.postgres.writes.memory import Key
from backout.postgres.writes.statements import (
    Write,
    delete_query,
    insert_query,
    or_insert,
    select_query,
    truncate_query,
    update_query,
)

_Values = dict[str, str | None]
_OURS = frozenset({STATE_SCHEMA, KEPT_SCHEMA})
_WHOLE_TABLE = ("every row",)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What becomes of one change: what is shown to people, and what is carried out."""

    shown: tuple[tuple[Fate, Reason, tuple[str, ...]], ...] = ()
    """Fate, reason, and the columns it is about; none = the whole row."""
    writes: tuple[Write, ...] = field(default=())

    @property
    def fate(self) -> Fate:
        return gravest(fate for fate, _, _ in self.shown) or Fate.CARRIED


class ToMigrated:
    """A `Translation` (see `postgres/writes/apply.py`): from the old schema to the migrated one."""

    def __init__(
        self,
        run: str,
        incident: str,
        tables: Mapping[int, BackTable],
        names: Mapping[int, tuple[str, ...]],
        signs: Signs,
    ) -> None:
        """`tables` see `back_tables`; `names` are the columns by which people know the rows of a table that
        the log names no key of; `signs` tell transactions of ours from the application's."""
        self._run = run
        self._incident = incident
        self._tables = tables
        self._names = names
        self._signs = signs

    def prepare(self, transactions: Sequence[Transaction]) -> None:
        """Nothing is looked up."""

    def writes(self, transaction: Transaction) -> Iterator[Write]:
        """The statements of one transaction; none for what was replicated to the new side, or is ours."""
        if transaction.origin is not None or recognise(transaction, self._signs) is not None:
            return
        fates: deque[Fate] = deque()
        for change in transaction.changes:
            if _is_ours(change):
                continue
            verdict = self._judge(change)
            fates.append(verdict.fate)
            yield from self._told(change, verdict)
            yield from verdict.writes
        if fates:
            yield memory.count(self._run, fates)

    def rolled_back(self) -> None:
        """Nothing to forget."""

    def committed(self) -> None:
        """Nothing to keep."""

    def fate(self, change: Change) -> Fate:
        """The fate under which this change is counted, as long as the target does not refuse it."""
        return self._judge(change).fate

    def claimed(self, change: Change) -> tuple[BackTable, Mapping[str, str]] | None:
        """The key under which this change would have stored a row that was not there before; None = none."""
        if not isinstance(change, RowChange) or change.kind is ChangeKind.DELETE:
            return None
        table = self._tables.get(change.relation.oid)
        if table is None or not table.key:
            return None
        new = _new_key(change, table)
        moved = change.kind is ChangeKind.INSERT or new != _key(change, table)
        return (table, dict(zip(table.key, new, strict=True))) if moved else None

    def _judge(self, change: Change) -> _Verdict:
        if isinstance(change, Truncation):
            return self._truncation(change)
        table = self._tables.get(change.relation.oid)
        if table is None:
            return _shown(Fate.ARCHIVED, Reason.NO_PLACE_BACK)
        if not _tells_key(change, table):
            return _shown(Fate.PARKED, Reason.NO_KEY)
        match change.kind:
            case ChangeKind.INSERT:
                return _inserted(change, table)
            case ChangeKind.DELETE:
                key = _key(change, table)
                write = Write(delete_query(*table.place, table.key), key, None, change)
                return _Verdict((), (memory.unless_kept_off(write, self._run, table.place, key),))
            case _:
                return self._updated(change, table)

    def _updated(self, change: RowChange, table: BackTable) -> _Verdict:
        wrote = _wrote(change, table)
        values = {table.places[name]: value for name, value in wrote.items() if name in table.places}
        full = change.old_image is OldImage.FULL
        sure = wrote if full else set(table.source_key)
        stuck = tuple(name for name in wrote if name in sure and table.places.get(name) in table.fixed)
        if stuck:
            return _shown(Fate.PARKED, Reason.FIXED_KEY, stuck)
        sent = {name: value for name, value in values.items() if name not in table.fixed}
        return _Verdict(_displaced(wrote, table, nulls=full), (self._update(change, table, sent),))

    def _update(self, change: RowChange, table: BackTable, values: _Values) -> Write:
        """By its former key. A row that is not there is stored, when the log tells all of it."""
        key = _key(change, table)
        query = update_query(*table.place, tuple(values), table.key)
        if not values:  # only columns without a place were written: but the row must be there
            query = select_query(*table.place, table.key)
        write = Write(query, (*values.values(), *key), 1, change)
        write = memory.unless_kept_off(write, self._run, table.place, key)
        if len(change.new_values()) < len(change.relation.names):
            return write
        return replace(write, thorough=or_insert(write, *table.place, _row(change, table)))

    def _truncation(self, change: Truncation) -> _Verdict:
        """The application emptied tables: repeated in its place, and shown."""
        fates, there = [], []
        for relation in change.relations:
            table = self._tables.get(relation.oid)
            fates.append(_fate_of_emptied(table))
            if table is not None and table.emptied is not None:
                there.append(table)
        fate = gravest(fates) or Fate.LISTED
        reason = Reason.TRUNCATED if fate is not Fate.ARCHIVED else Reason.NO_PLACE_BACK
        writes: tuple[Write, ...] = ()
        if there:
            emptied = [table.emptied for table in there if table.emptied is not None]
            query = truncate_query(emptied, restart_identity=change.restart_identity)
            forget = (memory.forget_empty(self._run, table.place) for table in there)
            writes = (Write(query, (), None, change), *forget)
        return _Verdict(((fate, reason, ()),), writes)

    def _told(self, change: Change, verdict: _Verdict) -> Iterator[Write]:
        """Entries for people, as the application wrote them."""
        if isinstance(change, Truncation):
            ((_, reason, _),) = verdict.shown
            for relation in change.relations:
                fate = _fate_of_emptied(self._tables.get(relation.oid))
                yield self._tell(fate, relation, _WHOLE_TABLE, reason, (), None)
            return
        now = change.new_values() or None
        for fate, reason, columns in verdict.shown:
            yield self._tell(fate, change.relation, self._name(change), reason, columns, now)

    def _tell(
        self,
        fate: Fate,
        relation: ChangedRelation,
        key: Key,
        reason: Reason,
        columns: tuple[str, ...],
        now: _Values | None,
    ) -> Write:
        name = qualified(relation.schema, relation.name)
        return memory.tell(self._incident, Entry(fate, name, key, reason, "", columns, None, None, now))

    def _name(self, change: RowChange) -> Key:
        """The row's key, else its place in the history."""
        row = change.new_values() or change.old_values()
        columns = change.relation.key or self._names.get(change.relation.oid, ())
        told = tuple(str(row[column]) for column in columns if column in row)
        return told or (f"{change.commit_lsn:X}#{change.sequence}",)


def _is_ours(change: Change) -> bool:
    """Bookkeeping of ours is no write of the application."""
    relations = change.relations if isinstance(change, Truncation) else (change.relation,)
    return all(relation.schema in _OURS for relation in relations)


def _shown(fate: Fate, reason: Reason, columns: tuple[str, ...] = ()) -> _Verdict:
    return _Verdict(((fate, reason, columns),))


def _fate_of_emptied(table: BackTable | None) -> Fate:
    if table is None:
        return Fate.ARCHIVED
    return Fate.LISTED if table.emptied is not None else Fate.PARKED


def _tells_key(change: RowChange, table: BackTable) -> bool:
    """Whether the change says which row of the migrated table it is about."""
    if not table.key:
        return False
    if change.kind is not ChangeKind.INSERT and change.old_image is not OldImage.FULL:
        marked = {column.name for column in change.relation.columns if column.in_key}
        if not marked.issuperset(table.source_key):
            return False
    try:
        change.key(table.source_key)
    except KeyError:
        return False
    return True


def _key(change: RowChange, table: BackTable) -> Key:
    """Before the change."""
    return tuple(str(value) for value in change.key(table.source_key))


def _new_key(change: RowChange, table: BackTable) -> Key:
    """After it."""
    now = change.new_values()
    return tuple(str(now[name]) for name in table.source_key)


def _inserted(change: RowChange, table: BackTable) -> _Verdict:
    if table.lacking:
        return _shown(Fate.PARKED, Reason.NO_DEFAULT)
    shown = _displaced(change.new_values(), table, nulls=False)
    return _Verdict(shown, (_insert(change, table),))


def _insert(change: RowChange, table: BackTable) -> Write:
    """Columns that only the migrated table has get their default."""
    values = _row(change, table)
    return Write(insert_query(*table.place, tuple(values)), tuple(values.values()), 1, change)


def _row(change: RowChange, table: BackTable) -> _Values:
    """The row as it is now, by the names of the migrated table."""
    now = change.new_values()
    return {table.places[name]: value for name, value in now.items() if name in table.places}


def _wrote(change: RowChange, table: BackTable) -> _Values:
    """What the application may have written, by the log's names: all but what stayed in TOAST and what is
    known to be as before, which is every other column with a full old image, and else the key alone."""
    before: Mapping[str, str | None] = dict(zip(table.source_key, change.key(table.source_key), strict=True))
    if change.old_image is OldImage.FULL:
        before = change.old_values()
    return {
        name: cell
        for name, cell in zip(change.relation.names, change.new, strict=True)
        if cell is not UNCHANGED and (name not in before or before[name] != cell)
    }


def _displaced(
    wrote: Mapping[str, str | None], table: BackTable, *, nulls: bool
) -> tuple[tuple[Fate, Reason, tuple[str, ...]], ...]:
    """Values without a place in the migrated schema, and values whose meaning it may have changed. A NULL
    is one of the former only where it is known to have been written."""
    placed = table.places.keys() | table.computed
    homeless = tuple(n for n, value in wrote.items() if n not in placed and (nulls or value is not None))
    other = tuple(name for name, value in wrote.items() if name in table.other_type and value is not None)
    shown = []
    if homeless:
        shown.append((Fate.ARCHIVED, Reason.NO_PLACE_BACK, homeless))
    if other:
        shown.append((Fate.LISTED, Reason.OTHER_TYPE, other))
    return tuple(shown)
