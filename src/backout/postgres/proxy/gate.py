"""The commit gate: what the transaction did against what was kept. Unequal = no COMMIT."""

from __future__ import annotations

import time
from collections.abc import Iterator

from psycopg import sql

from backout.model.plan import Keep, KeepHow
from backout.postgres.names import KEPT_SCHEMA
from backout.postgres.proxy import capture as captures
from backout.postgres.proxy import delta, disk, held, relevance
from backout.postgres.proxy.arrays import array, elements
from backout.postgres.proxy.capture import CHANGED, OPERATION, cells, text
from backout.postgres.proxy.pipe import Pipe
from backout.postgres.proxy.policy import KeepPlan, Policy
from backout.postgres.proxy.tables import Table, Tables, attributes, canonical, family, read_tables
from backout.postgres.proxy.transaction import GATE, Caught, Copy, NotLet, Transaction

_MANIFEST = """INSERT INTO backout_kept.manifest
(incident, seq, relation, oid, how, key_columns, columns, rows, kept_values, xid, lsn, at, kept_table,
 destroyed_values)
VALUES ($1, $2::int, $3, $4::pg_catalog.oid, $5, $6::pg_catalog.text[], $7::pg_catalog.text[], $8::bigint,
        $9::bigint, pg_catalog.pg_current_xact_id()::pg_catalog.text, pg_catalog.pg_current_wal_insert_lsn(),
        pg_catalog.clock_timestamp(), $10, $11::bigint)"""
_ROWS = sql.SQL("pg_catalog.count(*)")


class Gate:
    """Looks at one transaction right before its COMMIT, from inside."""

    def __init__(self, pipe: Pipe, policy: Policy) -> None:
        self._pipe = pipe
        self._policy = policy
        self._plan = policy.keep or KeepPlan((), "none")

    def pass_through(self, tx: Transaction) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
        """Check, drop what was kept in vain, write the manifest.

        Returns the attribute lists of the watched tables and the names of the kept tables that stay.
        Raises `NotLet` when something was destroyed that is not kept, and `InjectionFailed` when the
        server itself objects (a deferred constraint).
        """
        if tx.baseline is None:
            self._ask_caller()
            return (), ()
        held.look(self._pipe, tx, tx.sent_at)
        begun = time.monotonic()
        # deferred triggers would run behind our back, after the check
        self._pipe.inject([("SET CONSTRAINTS ALL IMMEDIATE", ())])
        after = read_tables(self._pipe)
        for caught in tx.caught:
            self._pipe.inject([(query, ()) for query in captures.remove(caught.capture)])
        kept: tuple[str, ...] = ()
        if self._policy.keep or self._policy.gate:
            problems = list(_Check(self._pipe, self._policy, tx, after).problems())
            if problems:
                raise NotLet("gate", GATE, "; ".join(problems[:5]))
            kept = tuple(self._settle(tx, after))
            disk.check(self._pipe, self._policy)  # rows caught by triggers came after the keeping
        held.look(self._pipe, tx, begun)  # taking our triggers away locks, too
        self._ask_caller()
        return attributes(after, self._policy.watch), kept

    def _ask_caller(self) -> None:
        reason = self._policy.also(self._pipe)
        if reason is not None:
            raise NotLet("gate", GATE, reason)

    def _settle(self, tx: Transaction, after: Tables) -> Iterator[str]:
        """Keep the tables of what was really destroyed; those of what was not are dropped again."""
        copied: dict[int, set[str]] = {}
        for copy in tx.copies:
            if _destroyed(copy, tx, after):
                copied.setdefault(copy.oid, set()).update(copy.columns)
                yield self._record_copy(copy)
            elif copy.before is not None:  # a later transaction may need it; the caller drops what is left
                delta.rename(self._pipe, copy.kept, copy.before.name)
            else:
                self._drop(copy.kept)
        for caught in tx.caught:
            rows = self._count(caught.capture.kept, _ROWS)
            if caught.keep is not None and rows:
                counted = frozenset(copied.get(caught.capture.table.oid, ()))
                yield self._record_caught(caught, caught.keep, rows, counted)
            else:
                self._drop(caught.capture.kept)

    def _record_copy(self, copy: Copy) -> str:
        rows = self._count(copy.kept, _ROWS)
        if rows != copy.rows:
            raise NotLet("gate", GATE, f"{copy.kept} holds {rows} rows and {copy.rows} were copied")
        if rows < copy.live_rows:
            detail = f"{copy.kept} holds {rows} rows and {copy.keep.table} has {copy.live_rows}"
            raise NotLet("gate", GATE, detail)
        values = self._count(copy.kept, cells(copy.columns))
        if copy.before is not None:  # more is of rows that were gone before: not destroyed by this down
            values = min(values, copy.values)
        counts = (rows, values, copy.values)
        self._record(copy.keep, copy.oid, copy.sequence, copy.kept, (copy.key, copy.columns), counts)
        return copy.kept

    def _record_caught(self, caught: Caught, keep: Keep, rows: int, counted: frozenset[str]) -> str:
        """`counted` are columns of which a copy of this transaction holds, and counted, every value."""
        capture = caught.capture
        values = int(self._pipe.rows(text(captures.changed_cells(capture, counted)))[0][0] or 0)
        whole = tuple(name for name in (*capture.key, *capture.stored) if name not in counted)
        values += self._count(capture.kept, cells(whole), "D")
        names = (capture.key, capture.stored)
        self._record(keep, capture.table.oid, caught.sequence, capture.kept, names, (rows, values, values))
        return capture.kept

    def _record(
        self,
        keep: Keep,
        oid: int,
        sequence: int,
        kept: str,
        names: tuple[tuple[str, ...], tuple[str, ...]],
        counts: tuple[int, int, int],
    ) -> None:
        """One row of the manifest; `names` = key and columns, `counts` = rows, values kept and destroyed.

        Of caught rows the server counts only how many there were, which `_caught_rows` has compared; of
        copies it counts the cells in the table itself.
        """
        if counts[1] < counts[2]:
            detail = f"{keep.table} loses {counts[2]} values, and {counts[1]} of them are kept"
            raise NotLet("gate", GATE, detail)
        place = (self._plan.incident, str(sequence), keep.table, str(oid), keep.how.value)
        self._pipe.rows(_MANIFEST, *place, *map(array, names), *map(str, counts[:2]), kept, str(counts[2]))

    def _count(self, kept: str, what: sql.Composable, operation: str = "") -> int:
        query = sql.SQL("SELECT coalesce({}, 0)::pg_catalog.text FROM {}").format(
            what, sql.Identifier(KEPT_SCHEMA, kept)
        )
        if operation:
            query += sql.SQL(" WHERE {} = {}").format(sql.Identifier(OPERATION), sql.Literal(operation))
        return int(self._pipe.rows(text(query))[0][0] or 0)

    def _drop(self, kept: str) -> None:
        self._pipe.inject([(text(sql.SQL("DROP TABLE {}").format(sql.Identifier(KEPT_SCHEMA, kept))), ())])


def _destroyed(copy: Copy, tx: Transaction, after: Tables) -> bool:
    """Whether the transaction destroyed anything that this copy holds."""
    for oid in family(tx.tables, copy.oid):
        before, now = tx.tables.get(oid), after.get(oid)
        if before is None:
            continue
        if now is None or now.filenode != before.filenode:
            return True
        if copy.keep.how is KeepHow.WHOLE_TABLE:
            if lost_columns(before, now) or _rows_touched(before, now):
                return True
        elif lost_columns(before, now) & set(copy.columns):
            return True
    return False


def _rows_touched(before: Table, now: Table) -> int:
    return (now.deleted - before.deleted) + (now.updated - before.updated)


def lost_columns(before: Table, now: Table) -> set[str]:
    """Columns (names before) that are gone or have another type now."""
    return {
        column.name
        for number, column in before.columns.items()
        if not column.generated and (number not in now.columns or now.columns[number].type != column.type)
    }


class _Check:
    """The questions of the gate, each answered with a problem or nothing."""

    def __init__(self, pipe: Pipe, policy: Policy, tx: Transaction, after: Tables) -> None:
        self._pipe = pipe
        self._tx = tx
        self._before = tx.tables
        self._after = after
        gate = policy.gate
        self._expected: dict[str, set[str]] = {}
        for name, listed in gate.attributes_after if gate else ():
            self._expected.setdefault(canonical(name), set()).add(listed)
        self._bookkeeping = set(map(canonical, gate.bookkeeping)) if gate else set()
        self._root = self._roots()

    def _roots(self) -> dict[int, int]:
        """The table of the plan above each table, for partitions and children."""
        found: dict[int, int] = {}
        roots = {copy.oid for copy in self._tx.copies} | {c.capture.table.oid for c in self._tx.caught}
        for root in roots:
            for oid in family(self._before, root):
                found.setdefault(oid, root)
        return found

    def problems(self) -> Iterator[str]:
        for before in self._before.values():
            now = self._after.get(before.oid)
            copies = [c for c in self._tx.copies if c.oid in (before.oid, self._root.get(before.oid))]
            whole = any(c.keep.how is KeepHow.WHOLE_TABLE for c in copies)
            yield from self._unexpected(before, now)
            if now is None:
                if not whole:
                    yield f"table {before.name} is gone and was not kept whole"
            elif not whole:
                yield from self._columns(before, now, {name for c in copies for name in c.columns})
                yield from self._file(before, now)
                if not self._caught(before.oid) and before.name not in self._bookkeeping:
                    yield from self._rows(before, now)
        for caught in self._tx.caught:
            yield from self._caught_rows(caught)

    def _unexpected(self, before: Table, now: Table | None) -> Iterator[str]:
        listed = now.attributes if now is not None else ""
        expected = self._expected.get(before.name)
        if expected is not None and listed not in expected | {before.attributes}:
            yield f"{before.name} would be left as no rehearsal left it: {listed or 'gone'}"

    def _columns(self, before: Table, now: Table, kept: set[str]) -> Iterator[str]:
        lost = lost_columns(before, now) - kept
        gone = sorted(name for name in lost if before.names[name] not in now.columns)
        if gone:
            yield f"{before.name} loses {', '.join(gone)}, which is not kept"
        # A type that changed without loss in the rehearsal needs no copy; what it did there is listed.
        retyped = sorted(lost - set(gone))
        if retyped and self._expected and now.attributes not in self._expected.get(before.name, set()):
            yield f"{before.name} gets other types for {', '.join(retyped)}, which is not kept"

    def _file(self, before: Table, now: Table) -> Iterator[str]:
        """TRUNCATE and a rewrite look alike in the catalog."""
        if now.filenode == before.filenode:
            return
        counted = self._tx.row_counts.get(before.oid)
        if counted is not None:
            rows = int(self._pipe.rows(f"SELECT pg_catalog.count(*)::text FROM {now.name}")[0][0] or 0)  # noqa: S608
            if rows < counted:
                yield f"{before.name} had {counted} rows and has {rows}"
        elif relevance.truncates(self._tx.statements) or not relevance.alters(
            self._tx.statements, before.bare
        ):
            yield f"{before.name} was truncated or rewritten and was not kept whole"

    def _caught(self, oid: int) -> bool:
        roots = (oid, self._root.get(oid))
        return any(caught.capture.table.oid in roots for caught in self._tx.caught)

    def _rows(self, before: Table, now: Table) -> Iterator[str]:
        deleted, updated = now.deleted - before.deleted, now.updated - before.updated
        if deleted > 0:
            yield f"{before.name} loses {deleted} rows, which are not kept"
        if updated > 0:
            yield f"{before.name} has {updated} rows changed, which are not kept"

    def _caught_rows(self, caught: Caught) -> Iterator[str]:
        """Every row that the server counted went through our triggers, and what it lost is stored."""
        capture = caught.capture
        members = family(self._before, capture.table.oid)
        pairs = [(self._before[oid], self._after.get(oid)) for oid in members if oid in self._before]
        counted = sum(_rows_touched(before, now) for before, now in pairs if now is not None)
        setting = "SELECT coalesce(nullif(pg_catalog.current_setting($1, true), ''), '0')"
        seen = int(self._pipe.rows(setting, capture.counter)[0][0] or 0)
        name = capture.table.name
        if counted > seen:
            yield f"{name} has {counted} rows deleted or changed and {seen} of them were caught"
        query = sql.SQL(
            "SELECT {0}, coalesce({1}, '{{}}')::pg_catalog.text, pg_catalog.count(*)::text"
            " FROM {2} GROUP BY 1, 2"
        ).format(
            sql.Identifier(OPERATION), sql.Identifier(CHANGED), sql.Identifier(KEPT_SCHEMA, capture.kept)
        )
        yield from self._uncovered(caught, self._pipe.rows(text(query)))

    def _uncovered(self, caught: Caught, groups: tuple[tuple[str | None, ...], ...]) -> Iterator[str]:
        capture, table = caught.capture, caught.capture.table
        stored = {*capture.key, *capture.stored}
        for copy in self._tx.copies:
            if copy.oid == table.oid:
                stored |= {*copy.key, *copy.columns}
        old = {c.name for c in table.columns.values() if not c.generated}
        for operation, changed, count in groups:
            if operation == "D" and (caught.keep is None or old - stored):
                yield f"{table.name} loses {count} rows, which are not kept"
            lost = set(elements(changed or "{}")) & old - stored
            if operation == "U" and lost:
                yield f"{table.name} has {count} rows changed in {', '.join(sorted(lost))}, not kept"
