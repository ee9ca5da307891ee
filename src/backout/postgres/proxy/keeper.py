"""Keep what the tool is about to destroy, inside its own transaction: lock first, then copy.

The order is the point. A copy without the lock, or a lock taken after the transaction's snapshot, loses
what the application writes in between, silently. So: nothing that takes a snapshot comes before
LOCK TABLE above READ COMMITTED, and below it every copy begins after the lock was granted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence

from psycopg import sql

from backout.model.plan import Keep, KeepHow
from backout.model.statement import Statement, StatementClass
from backout.postgres.names import KEPT_SCHEMA, MESSAGE_PREFIX
from backout.postgres.proxy import delta, disk, held, relevance
from backout.postgres.proxy.arrays import array, elements
from backout.postgres.proxy.bench import Bench
from backout.postgres.proxy.capture import cells, stored, text
from backout.postgres.proxy.guards import Guards
from backout.postgres.proxy.pipe import InjectionFailed
from backout.postgres.proxy.policy import PreCopy
from backout.postgres.proxy.tables import Table, Tables, canonical, family, named, read_tables
from backout.postgres.proxy.transaction import KEEP, Copy, Done, NotLet, Transaction

_MARK = "SELECT pg_catalog.pg_logical_emit_message(true, $1, $2)"
_DONE = "SELECT seq::text, relation, columns::text FROM backout_kept.manifest WHERE incident = $1"


class Keeper:
    """Keeps for one session. What other transactions kept, it reads from the manifest."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._pipe = bench.pipe
        self._policy = bench.policy
        self._plan = bench.plan
        self._guards = Guards(bench)

    def before_writing(self, tx: Transaction, writing: Sequence[Statement]) -> None:
        """Called right before statements that write are sent: whatever has to come first comes now.

        Raises `NotLet` when it cannot be kept.
        """
        if not tx.wrote:
            self._policy.on_writing()
        tx.wrote = True
        self._begin(tx)
        keeps = list(self._wanted(tx, writing))
        if keeps:
            self._keep(tx, keeps)
        self._mark(tx)
        self._guards.before_writing(tx, writing)
        tx.statements.extend(writing)
        tx.sent_at = time.monotonic()

    def before_anything(self, tx: Transaction) -> None:
        """Above READ COMMITTED: everything is locked and kept before the first snapshot is taken."""
        if tx.read:
            detail = "the tool has read above READ COMMITTED before the tables could be locked"
            raise NotLet("keep", KEEP, detail)
        tx.isolated = True
        self._keep(tx, list(enumerate(self._plan.keeps)))
        self._mark(tx)

    def after_writing(self, tx: Transaction, written: Sequence[Statement]) -> None:
        """Note what changes the meaning of what was prepared, and what it locked."""
        if any(statement.klass is not StatementClass.WRITE for statement in written):
            tx.reshaped = True
            if tx.baseline is not None:
                held.look(self._pipe, tx, tx.sent_at)

    def after_rollback_to(self, tx: Transaction) -> None:
        """The tool went back to a savepoint: what we made since is gone, and is made again when needed."""
        tx.marked = False
        kept = [entry.kept for entry in tx.copies] + [entry.capture.kept for entry in tx.caught]
        query = """SELECT r FROM pg_catalog.unnest($1::pg_catalog.text[]) r
                   WHERE pg_catalog.to_regclass(r) IS NULL"""
        names = [f"{KEPT_SCHEMA}.{name}" for name in kept]
        gone = {row[0] for row in self._pipe.rows(query, array(names))} if names else set()
        tx.copies = [entry for entry in tx.copies if f"{KEPT_SCHEMA}.{entry.kept}" not in gone]
        tx.caught = [entry for entry in tx.caught if f"{KEPT_SCHEMA}.{entry.capture.kept}" not in gone]
        tx.reshaped = True
        if gone:
            tx.handled.clear()
            plan = self._plan.keeps
            there = {id(copy.keep) for copy in tx.copies} | {id(caught.keep) for caught in tx.caught}
            tx.handled.update(n for n, keep in enumerate(plan) if id(keep) in there)

    # --- what is needed

    def _begin(self, tx: Transaction) -> None:
        if tx.baseline is None and (self._policy.keep or self._policy.gate or self._policy.watch):
            tx.baseline = read_tables(self._pipe)

    def _mark(self, tx: Transaction) -> None:
        if self._policy.mark is not None and not tx.marked:
            self._pipe.rows(_MARK, MESSAGE_PREFIX, json.dumps(dict(self._policy.mark), sort_keys=True))
            tx.marked = True

    def _wanted(self, tx: Transaction, writing: Sequence[Statement]) -> Iterator[tuple[int, Keep]]:
        """Keeps that these statements may need and that were not carried out in this transaction.

        In a transaction one relevant statement brings all of them (one lock, one order); around a single
        statement only those of the tables it names, unless its text does not tell.
        """
        writing = [s for s in writing if not self._bench.is_bookkeeping(s)]
        left = [(n, keep) for n, keep in enumerate(self._plan.keeps) if n not in tx.handled]
        touched = [keep for _, keep in left if self._may_touch(tx, writing, keep)]
        if not touched:
            return
        for position, keep in left:
            if not tx.ours or keep in touched:
                yield position, keep

    def _may_touch(self, tx: Transaction, writing: Sequence[Statement], keep: Keep) -> bool:
        """A partition or a child that is named takes rows of the table above it."""
        table = named(tx.tables, keep.table)
        members = [tx.tables[oid].name for oid in family(tx.tables, table.oid)] if table else []
        return any(relevance.may_touch(writing, name) for name in (keep.table, *members[1:]))

    # --- lock and copy

    def _keep(self, tx: Transaction, keeps: Sequence[tuple[int, Keep]]) -> None:
        try:
            with self._bench.own_settings():
                names = self._lock_order(tx, keeps)
                if names:
                    self._bench.lock(tx, f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE")
                now = read_tables(self._pipe)
                if not tx.statements:
                    tx.baseline = now  # under the lock: nobody can change the tables of the plan any more
                self._mark(tx)
                self._bench.notice_death()
                done = self._read_done()
                for position, keep in keeps:
                    self._carry_out(tx, keep, now, done)
                    tx.handled.add(position)
                disk.check(self._pipe, self._policy)
        except InjectionFailed as failure:
            raise NotLet("keep", KEEP, f"the values cannot be kept: {failure} ({failure.sqlstate})") from None

    def _lock_order(self, tx: Transaction, keeps: Sequence[tuple[int, Keep]]) -> list[str]:
        """Names to lock, by oid, so that two runs never wait for each other. Without a snapshot the catalog
        cannot be asked: then the plan's own oids give the order."""
        if tx.isolated:
            found = {(keep.oid_on_target, keep.table): keep.table for _, keep in keeps}
            return list(dict.fromkeys(found[place] for place in sorted(found)))
        tables = [named(tx.tables, keep.table) for _, keep in keeps]
        return [t.name for t in sorted({t.oid: t for t in tables if t}.values(), key=lambda t: t.oid)]

    def _read_done(self) -> Done:
        found: dict[str, frozenset[str]] = {}
        for sequence, relation, names in self._pipe.rows(_DONE, self._plan.incident):
            self._bench.numbers.skip_to(int(sequence or 0) + 1)
            table = canonical(relation or "")
            found[table] = found.get(table, frozenset()) | set(elements(names or "{}"))
        return found

    def _carry_out(self, tx: Transaction, keep: Keep, tables: Tables, done: Done) -> None:
        table = named(tables, keep.table)
        names = table.names if table is not None else {}
        missing = [name for name in (*keep.key, *keep.columns) if name not in names]
        if missing:
            self._expect_done(keep, done, missing)
        if table is None:
            return
        there = tuple(name for name in keep.columns if name in names)
        match keep.how:
            case KeepHow.CHANGED_ROWS:
                key = tuple(name for name in keep.key if name in names)
                stored = tuple(name for name in there if name not in key)
                self._bench.catch(tx, tables, table, keep, (key, stored))
            case KeepHow.WHOLE_TABLE:
                self._copy(tx, table, keep, (), _all_columns(table))
            case KeepHow.COLUMNS if there:
                rest = tuple(name for name in keep.key or _all_columns(table) if name not in there)
                rest = tuple(name for name in rest if name in names)
                before = self._copied_before(tables, table, keep)
                if before is not None and there == keep.columns:
                    self._complete(tx, table, before, rest, there)
                else:
                    self._copy(tx, table, keep, rest, there)
        if table.name in map(canonical, self._plan.rewrites):
            rows = self._pipe.rows(f"SELECT pg_catalog.count(*)::text FROM {table.name}")  # noqa: S608 - quoted
            tx.row_counts[table.oid] = int(rows[0][0] or 0)

    def _expect_done(self, keep: Keep, done: Done, missing: Sequence[str]) -> None:
        """What is not there any more must have been kept by an earlier transaction of this incident."""
        lost = [name for name in missing if name not in done.get(canonical(keep.table), frozenset())]
        if lost:
            what = f"{keep.table} has no column {', '.join(lost)}"
            raise NotLet("keep", KEEP, f"{what}, and no earlier transaction kept it: the plan is stale")

    def _copied_before(self, tables: Tables, table: Table, keep: Keep) -> PreCopy | None:
        found = (before for before in self._plan.pre_copies if before.keep == keep)
        return next((one for one in found if delta.usable(self._pipe, tables, table, one)), None)

    def _complete(
        self, tx: Transaction, table: Table, before: PreCopy, key: tuple[str, ...], wanted: tuple[str, ...]
    ) -> None:
        begun = time.monotonic()
        kept, sequence = self._bench.new_name(table)
        done = delta.complete(self._pipe, table, before, kept, key, wanted)
        copy = Copy(before.keep, table.oid, sequence, kept, key, wanted, done.rows, done.values)
        copy.before, copy.live_rows, copy.seconds = before, done.live_rows, time.monotonic() - begun
        tx.copies.append(copy)

    def _copy(
        self, tx: Transaction, table: Table, keep: Keep, key: tuple[str, ...], wanted: tuple[str, ...]
    ) -> None:
        begun = time.monotonic()
        kept, sequence = self._bench.new_name(table)
        target = sql.Identifier(KEPT_SCHEMA, kept)
        query = sql.SQL("CREATE TABLE {} AS SELECT {} FROM {}").format(
            target, _stored(table, (*key, *wanted)), sql.SQL(table.name)
        )
        if keep.how is KeepHow.COLUMNS:
            # IS NOT NULL would be false for a composite value with one empty field
            present = (sql.SQL("{} IS DISTINCT FROM NULL").format(sql.Identifier(n)) for n in wanted)
            query = sql.SQL("{} WHERE {}").format(query, sql.SQL(" OR ").join(present))
        answer = self._pipe.inject([(text(query), ())])[0]
        self._bench.close_to_others(target)
        rows = int(answer.tag.rsplit(" ", 1)[-1])
        values = self._cells_of(table, wanted)
        seconds = time.monotonic() - begun
        tx.copies.append(Copy(keep, table.oid, sequence, kept, key, wanted, rows, values, seconds))

    def _cells_of(self, table: Table, names: tuple[str, ...]) -> int:
        """Counted where they are, and not where they were copied to: the gate compares the two."""
        query = sql.SQL("SELECT ({})::pg_catalog.text FROM {}").format(cells(names), sql.SQL(table.name))
        return int(self._pipe.rows(text(query))[0][0] or 0)


def _stored(table: Table, names: Sequence[str]) -> sql.Composed:
    """These columns as they are kept, under their own names."""
    present = {column.name: column for column in table.columns.values()}
    return sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(stored(present[name]), sql.Identifier(name)) for name in names
    )


def _all_columns(table: Table) -> tuple[str, ...]:
    """Names of all columns that hold values of their own, in the order of the table."""
    return tuple(c.name for _, c in sorted(table.columns.items()) if not c.generated)
