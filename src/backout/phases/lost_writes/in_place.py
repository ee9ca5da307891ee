"""Repair one table in place, beside running writers: judge each row that the migration changed, write it.

Invariant: a batch, the mark that it was done, and everything it parks are one transaction. A repair that
is resumed therefore never resurrects what the application has deleted since, and no row is written that
somebody else has written in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from backout.errors import LockNotGranted
from backout.merge.rows import Column, Judgement, Result, Triple, judge
from backout.model.fates import Fate, Fates, Reason
from backout.model.mapping import Mapping
from backout.model.plan import Budgets
from backout.model.repair import Repaired, RepairTable
from backout.postgres import done, parked
from backout.postgres.connect import Session
from backout.postgres.repair import attempts, effect, live, newer

_NEWER_SHOWN = 10_000
_ROUNDS = 50
"""How often a row that others keep writing is read again before it is parked."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair needs besides the table and the copies: the live session, and how it may behave."""

    session: Session
    incident: str
    marks: live.Marks
    label: str
    """How exact the values of before are; empty = exact."""
    quiet_triggers: bool
    """The role may switch user triggers off for its own session."""
    budgets: Budgets
    physical: bool = False
    """The migrated copy shares its physical base with the live database: a row that nobody has written since
    still has the same `xmin`, so that a write of the very same value is seen."""
    rest: float = 1.0
    """Pause after a batch, as a multiple of the time that it took: writers come first."""
    on_progress: Callable[[str, int], None] = field(default=lambda _table, _rows: None)

    @property
    def settings(self) -> dict[str, str]:
        """Settings of each of its transactions."""
        chosen = {"lock_timeout": f"{self.budgets.lock_timeout * 1000:.0f}ms", "synchronous_commit": "on"}
        return chosen | ({"session_replication_role": "replica"} if self.quiet_triggers else {})


def repair_table(repair: Repair, copies: effect.Copies, table: RepairTable) -> Repaired:
    """Repair all rows of one table; batches that were done before are passed over.

    Raises `LockNotGranted` when a batch did not get its locks within the patience of the plan; what was done
    stays done.
    """
    total, read = Repaired(table.table), 0
    for number, batch in enumerate(effect.changed_rows(copies, table)):
        begun = time.monotonic()
        total = _plus(total, _batch(repair, table, f"{_prefix(repair, table)}{number}", batch))
        read += len(batch)
        repair.on_progress(table.table, read)
        time.sleep(min(1.0, repair.rest * (time.monotonic() - begun)))
    return total


def list_newer(repair: Repair, copies: effect.Copies, table: RepairTable) -> None:
    """List the rows that a stale snapshot does not know, in a table that got a column back: what the
    migration took from them is in no copy. Once; the first `_NEWER_SHOWN` by name, all in the figures."""
    if not any(column.mapping is Mapping.REMADE for column in table.columns):
        return
    mark = f"{_prefix(repair, table)}newer"
    with repair.session.transaction():
        if not done.once(repair.session, mark):
            return
        found = 0
        shown: list[parked.Entry] = []
        for key in newer.rows_newer(copies.before, repair.session, table):
            found += 1
            if found <= _NEWER_SHOWN:
                shown.append(_newer(repair, table, key))
        parked.store(repair.session, repair.incident, shown)
        done.tell(repair.session, mark, {Fate.LISTED.value: found})


def _newer(repair: Repair, table: RepairTable, key: live.Key) -> parked.Entry:
    columns = tuple(column.name for column in table.columns if column.mapping is Mapping.REMADE)
    return parked.Entry(
        *(Fate.LISTED, table.table, key, Reason.NEWER, "", columns),
        *(None, None, None, repair.label),
    )


def figures(repair: Repair, table: RepairTable) -> Repaired:
    """What was done to this table over all attempts, as the marks tell."""
    told = done.total(repair.session, _prefix(repair, table))
    fates = Fates(*(told.get(fate.value, 0) for fate in _COUNTED))
    return Repaired(table.table, **{name: told.get(name, 0) for name in _FIGURES}, fates=fates)


_FIGURES = ("inserted", "updated", "deleted", "already_right", "values_back", "retries")
_COUNTED = (Fate.CARRIED, Fate.ARCHIVED, Fate.PARKED, Fate.LISTED)


def _figures(tally: Repaired) -> dict[str, int]:
    told = {name: getattr(tally, name) for name in _FIGURES}
    return told | {fate.value: getattr(tally.fates, fate.value) for fate in _COUNTED}


def _prefix(repair: Repair, table: RepairTable) -> str:
    return f"{repair.incident}/repair/{table.table}/"


def wrong_rows(repair: Repair, copies: effect.Copies, table: RepairTable) -> int:
    """Rows that are not what they should be, parked ones apart: the proof afterwards. Only reads."""
    work, found = Work(repair, table), 0
    open_keys = {
        entry.key
        for entry in parked.entries(repair.session, repair.incident, fate=Fate.PARKED)
        if entry.relation == table.table
    }
    for batch in effect.changed_rows(copies, table):
        found += work.count_wrong([row for row in batch if row.key(table.key) not in open_keys])
    return found


def _batch(repair: Repair, table: RepairTable, mark: str, batch: Sequence[effect.Changed]) -> Repaired:
    """One batch, tried again while its rows are locked by others."""
    ends = time.monotonic() + repair.budgets.lock_patience
    while True:
        try:
            with attempts.transaction(repair.session, repair.settings):
                if not done.once(repair.session, mark):
                    return Repaired(table.table)
                work = Work(repair, table)
                work.apply(batch)
                parked.store(repair.session, repair.incident, work.entries)
                done.tell(repair.session, mark, _figures(work.tally))
                return work.tally
        except attempts.Busy as error:
            if time.monotonic() > ends:
                raise LockNotGranted(
                    f"rows of {table.table} were locked for {repair.budgets.lock_patience:.0f} s: {error}",
                    where=table.table,
                    intact="everything that was repaired so far, and every write of the application",
                    next=f"backout resume {repair.incident}",
                ) from None
            time.sleep(5 * repair.budgets.lock_timeout)


class Work:
    """Rows of one table while a transaction is open: what was written, and what is parked or listed."""

    def __init__(self, repair: Repair, table: RepairTable) -> None:
        self._repair = repair
        self._table = table
        self._columns = tuple(Column(c.name, c.mapping, c.needs_value) for c in table.columns)
        self.tally = Repaired(table.table)
        self.entries: list[parked.Entry] = []

    def apply(self, rows: Sequence[effect.Changed]) -> None:
        """Write all of them; a row that the server refuses is found by halving, and parked."""
        kept = (self.tally, list(self.entries))
        try:
            with attempts.savepoint(self._repair.session):
                self._write(rows)
        except attempts.RowRefused as refused:
            self.tally, self.entries = kept
            if len(rows) == 1:
                self._park_refused(rows[0], str(refused))
                return
            half = len(rows) // 2
            self.apply(rows[:half])
            self.apply(rows[half:])

    def _write(self, rows: Sequence[effect.Changed]) -> None:
        waiting = {row.key(self._table.key): row for row in rows}
        blocked: set[live.Key] = set()
        for _ in range(_ROUNDS):
            there = live.read(self._repair.session, self._table, list(waiting), self._repair.marks)
            changes = []
            for key, row in list(waiting.items()):
                now = there.get(key)
                judgement = self._judge(row, now)
                change = self._change(key, judgement, now)
                if change is None:
                    self._settle(key, waiting.pop(key), judgement, now, None)
                elif key in blocked and not change.version:
                    self._clash(key, waiting.pop(key))
                else:
                    changes.append((change, judgement, now))
            written = live.write(self._repair.session, self._table, [change for change, _, _ in changes])
            for change, judgement, now in changes:
                if change.key in written:
                    self._settle(change.key, waiting.pop(change.key), judgement, now, change)
                elif not change.version:
                    blocked.add(change.key)
            if not waiting:
                return
            self.tally = replace(self.tally, retries=self.tally.retries + len(waiting))
        for key, row in waiting.items():
            self._park(key, row, None, Reason.CHANGES_TOO_FAST)

    def count_wrong(self, rows: Sequence[effect.Changed]) -> int:
        """How many of these rows would still have to be written."""
        by_key = {row.key(self._table.key): row for row in rows}
        there = live.read(self._repair.session, self._table, list(by_key), self._repair.marks)
        changes = (
            self._change(key, self._judge(row, there.get(key)), there.get(key)) for key, row in by_key.items()
        )
        return sum(change is not None for change in changes)

    def _judge(self, row: effect.Changed, now: live.Live | None) -> Judgement:
        if now is None:
            return judge(Triple(row.before, row.migrated, None), self._columns)
        # now(), random() and sequences gave production other values than the repeated migration on the copy.
        values = row.migrated if now.by_migration and row.migrated is not None else now.values
        known = self._repair.physical and row.version and now.version not in self._repair.marks.downs
        touched = now.version != row.version if known else None
        triple = Triple(row.before, row.migrated, values, touched, now.touched_after_down)
        return judge(triple, self._columns)

    def _change(self, key: live.Key, judgement: Judgement, now: live.Live | None) -> live.Change | None:
        """What has to be written so that the live row is the judged one; None = nothing."""
        if judgement.result is Result.STAY:
            return None
        if judgement.result is Result.ABSENT:
            return None if now is None else live.Change(key, {}, now.version)
        living = {c.name for c in live.columns_of(self._table)}
        values = {name: value for name, value in judgement.values.items() if name in living}
        if now is None:
            return live.Change(key, values, "")
        other = {name: value for name, value in values.items() if now.values[name] != value}
        return live.Change(key, other, now.version) if other else None

    def _settle(
        self,
        key: live.Key,
        row: effect.Changed,
        judgement: Judgement,
        now: live.Live | None,
        change: live.Change | None,
    ) -> None:
        """Count a row whose end is known, and store it when a person has to see it."""
        t = self.tally
        self.tally = replace(
            t,
            inserted=t.inserted + (change is not None and not change.version),
            updated=t.updated + (change is not None and bool(change.version and change.values)),
            deleted=t.deleted + (change is not None and not change.values),
            already_right=t.already_right + (change is None and judgement.result is not Result.STAY),
            values_back=t.values_back + _values_back(row, change),
            fates=t.fates.plus(Fates.of([judgement.fate])),
        )
        if judgement.fate in (Fate.LISTED, Fate.PARKED):
            assert judgement.reason is not None
            columns = judgement.parked if judgement.fate is Fate.PARKED else judgement.listed
            self._store(key, row, now, judgement.fate, judgement.reason, columns=columns)

    def _clash(self, key: live.Key, row: effect.Changed) -> None:
        """The key is free and the row still cannot go in: another unique value is taken."""
        self._park(key, row, None, Reason.CANNOT_APPLY, "another row holds one of its unique values")

    def _park_refused(self, row: effect.Changed, said: str) -> None:
        key = row.key(self._table.key)
        now = live.read(self._repair.session, self._table, [key], self._repair.marks).get(key)
        self._park(key, row, now, Reason.CANNOT_APPLY, said)

    def _park(
        self, key: live.Key, row: effect.Changed, now: live.Live | None, reason: Reason, detail: str = ""
    ) -> None:
        self.tally = replace(self.tally, fates=self.tally.fates.plus(Fates(parked=1)))
        self._store(key, row, now, Fate.PARKED, reason, detail=detail)

    def _store(
        self,
        key: live.Key,
        row: effect.Changed,
        now: live.Live | None,
        fate: Fate,
        reason: Reason,
        *,
        columns: Sequence[str] = (),
        detail: str = "",
    ) -> None:
        values = None if now is None else now.values
        self.entries.append(
            parked.Entry(
                *(fate, self._table.table, key, reason, detail, tuple(columns)),
                *(row.before, row.migrated, values),
                self._repair.label,
            )
        )


def _values_back(row: effect.Changed, change: live.Change | None) -> int:
    """Non-NULL values of before that this change puts into the live table."""
    if change is None or row.before is None:
        return 0
    return sum(
        1 for name, value in change.values.items() if value is not None and row.before.get(name) == value
    )


def _plus(a: Repaired, b: Repaired) -> Repaired:
    return Repaired(
        a.table,
        a.inserted + b.inserted,
        a.updated + b.updated,
        a.deleted + b.deleted,
        a.already_right + b.already_right,
        a.values_back + b.values_back,
        a.fates.plus(b.fates),
        a.retries + b.retries,
    )
