"""Watch the rows that a statement changes although no keep covers them: is nothing lost there, as planned?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backout.model.plan import KeepHow
from backout.model.statement import Statement
from backout.postgres.proxy import capture as captures
from backout.postgres.proxy import relevance
from backout.postgres.proxy.arrays import array
from backout.postgres.proxy.bench import Bench
from backout.postgres.proxy.pipe import InjectionFailed
from backout.postgres.proxy.tables import Table, canonical, family, read_tables
from backout.postgres.proxy.transaction import KEEP, NotLet, Transaction


class Guards:
    """Triggers that catch what a table loses, put on right before the statement that may do it."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._pipe = bench.pipe

    def before_writing(self, tx: Transaction, writing: Sequence[Statement]) -> None:
        """Guard every table whose rows these statements change and that no keep covers whole.

        The plan says that nothing is lost there; the guard sees whether that is true, cell by cell. A
        column that this transaction added itself may be filled, of course.
        """
        if not (self._bench.policy.keep or self._bench.policy.gate):
            return
        writing = [s for s in writing if not self._bench.is_bookkeeping(s)]
        try:
            if tx.reshaped and tx.caught:
                self._rewrite_functions(tx)
            for table in self._unguarded(tx, writing):
                self._guard(tx, table.oid)
        except InjectionFailed as failure:
            raise NotLet("keep", KEEP, f"rows cannot be watched: {failure} ({failure.sqlstate})") from None

    def _rewrite_functions(self, tx: Transaction) -> None:
        now = read_tables(self._pipe)
        for entry in tx.caught:
            table = now.get(entry.capture.table.oid)
            if table is not None:
                self._pipe.inject([(query, ()) for query in captures.functions(entry.capture, table)])
        tx.reshaped = False

    def _unguarded(self, tx: Transaction, writing: Sequence[Statement]) -> Iterator[Table]:
        bookkeeping = (
            set(map(canonical, self._bench.policy.gate.bookkeeping)) if self._bench.policy.gate else set()
        )
        whole = {copy.oid for copy in tx.copies if copy.keep.how is KeepHow.WHOLE_TABLE}
        covered = {oid for root in whole for oid in family(tx.tables, root)}
        covered |= {oid for c in tx.caught for oid in family(tx.tables, c.capture.table.oid)}
        planned = [keep.table for keep in self._bench.plan.keeps]
        names = relevance.rows_changed(writing, planned)
        if not names:
            return
        found = self._pipe.rows(
            """SELECT DISTINCT pg_catalog.to_regclass(r)::oid::text
               FROM pg_catalog.unnest($1::pg_catalog.text[]) r""",
            array(names),
        )
        for (oid,) in found:
            table = tx.tables.get(int(oid)) if oid else None
            if table is not None and table.oid not in covered and table.name not in bookkeeping:
                yield table

    def _guard(self, tx: Transaction, oid: int) -> None:
        with self._bench.own_settings():
            name = read_tables(self._pipe)[oid].name  # the tool may have renamed it
            self._bench.lock(tx, f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE")
            now = read_tables(self._pipe)
            key = self._pipe.rows(
                """SELECT a.attnum::text FROM pg_catalog.pg_index i
                   JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                   WHERE i.indrelid = $1::pg_catalog.oid AND i.indisprimary""",
                str(oid),
            )
            before = tx.tables[oid].columns
            numbers = [int(row[0] or 0) for row in key]
            known = all(number in before for number in numbers)
            names = tuple(before[number].name for number in numbers) if known else ()
            self._bench.catch(tx, now, now[oid], None, (names, ()))
