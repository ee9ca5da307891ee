"""Keep what the tool is about to destroy, inside its own transaction: lock first, then copy.

The order is the point. A copy without the lock, or a lock taken after the transaction's snapshot, loses
what the application writes in between, silently. So: nothing that takes a snapshot comes before
LOCK TABLE above READ COMMITTED, and below it every copy begins after the lock was granted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from psycopg import sql

from backout.model.plan import Keep, KeepHow
from backout.model.statement import Statement, StatementClass
from backout.postgres.names import KEPT_SCHEMA, MESSAGE_PREFIX, kept_table
from backout.postgres.proxy import capture as captures
from backout.postgres.proxy import relevance
from backout.postgres.proxy.capture import Capture, columns, text
from backout.postgres.proxy.locking import lock
from backout.postgres.proxy.pipe import InjectionFailed, Pipe
from backout.postgres.proxy.policy import KeepPlan, Policy
from backout.postgres.proxy.tables import Table, Tables, canonical, family, named, parts, read_tables
from backout.postgres.proxy.transaction import KEEP, Caught, Copy, Done, NotLet, Transaction

_NO_PLAN = KeepPlan((), "none")
_SETTINGS = ("lock_timeout", "statement_timeout", "row_security")
_MARK = "SELECT pg_catalog.pg_logical_emit_message(true, $1, $2)"
# Where the platform can: our long copy ends soon after we were killed, not when it is done.
_NOTICE_DEATH = """SELECT pg_catalog.set_config('client_connection_check_interval', '500ms', true)
WHERE pg_catalog.version() ~ 'linux'
  AND pg_catalog.current_setting('client_connection_check_interval', true) IS NOT NULL"""
_DONE = "SELECT seq::text, relation, columns::text FROM backout_kept.manifest WHERE incident = $1"


class Keeper:
    """Keeps for one session; `done` is shared by the sessions of a proxy through the manifest."""

    def __init__(self, pipe: Pipe, policy: Policy) -> None:
        self._pipe = pipe
        self._policy = policy
        self._plan = policy.keep or _NO_PLAN
        self._next = self._plan.number

    def before_writing(self, tx: Transaction, writing: Sequence[Statement]) -> None:
        """Called right before statements that write are sent: whatever has to come first comes now.

        Raises `NotLet` when it cannot be kept.
        """
        tx.wrote = True
        self._begin(tx)
        keeps = list(self._wanted(tx, writing))
        if keeps:
            self._keep(tx, keeps)
        self._mark(tx)
        self._watch_rows(tx, writing)
        tx.statements.extend(writing)

    def before_anything(self, tx: Transaction) -> None:
        """Above READ COMMITTED: everything is locked and kept before the first snapshot is taken."""
        if tx.read:
            detail = "the tool has read above READ COMMITTED before the tables could be locked"
            raise NotLet("keep", KEEP, detail)
        tx.isolated = True
        self._keep(tx, list(enumerate(self._plan.keeps)))
        self._mark(tx)

    def after_writing(self, tx: Transaction, written: Sequence[Statement]) -> None:
        """Note what changes the meaning of what was prepared."""
        if any(statement.klass is not StatementClass.WRITE for statement in written):
            tx.reshaped = True

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
        writing = [s for s in writing if not self._is_bookkeeping(s)]
        left = [(n, keep) for n, keep in enumerate(self._plan.keeps) if n not in tx.handled]
        touched = [keep for _, keep in left if relevance.may_touch(writing, keep.table)]
        if not touched:
            return
        for position, keep in left:
            if not tx.ours or keep in touched:
                yield position, keep

    def _is_bookkeeping(self, statement: Statement) -> bool:
        own = {parts(name)[-1] for name in self._policy.gate.bookkeeping} if self._policy.gate else set()
        names = {parts(name)[-1] for name in statement.objects}
        return bool(names) and names <= own and statement.klass is StatementClass.WRITE

    # --- lock and copy

    def _keep(self, tx: Transaction, keeps: Sequence[tuple[int, Keep]]) -> None:
        try:
            with self._own_settings():
                names = self._lock_order(tx, keeps)
                if names:
                    self._lock(tx, f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE")
                now = read_tables(self._pipe)
                if not tx.statements:
                    tx.baseline = now  # under the lock: nobody can change the tables of the plan any more
                self._mark(tx)
                self._pipe.rows(_NOTICE_DEATH)
                done = self._read_done()
                for position, keep in keeps:
                    self._carry_out(tx, keep, now, done)
                    tx.handled.add(position)
        except InjectionFailed as failure:
            raise NotLet("keep", KEEP, f"the values cannot be kept: {failure} ({failure.sqlstate})") from None

    @contextmanager
    def _own_settings(self) -> Iterator[None]:
        """Our timeouts, and filtered rows as an error; afterwards what the tool had: SET LOCAL would last
        to its COMMIT, over its own statements. Neither SHOW nor SET takes a snapshot."""
        pipe, budgets = self._pipe, self._policy.budgets
        before = pipe.inject([(f"SHOW {name}", ()) for name in _SETTINGS])
        pipe.inject(
            [
                (f"SET LOCAL lock_timeout = {int(budgets.lock_timeout * 1000)}", ()),
                (f"SET LOCAL statement_timeout = {int(budgets.statement_timeout * 1000)}", ()),
                ("SET LOCAL row_security = off", ()),
            ]
        )
        yield
        restore = sql.SQL("SET LOCAL {} = {}")
        values = [sql.Literal(answer.rows[0][0]) for answer in before]
        pairs = zip(map(sql.Identifier, _SETTINGS), values, strict=True)
        pipe.inject([(text(restore.format(*pair)), ()) for pair in pairs])

    def _lock(self, tx: Transaction, statement: str) -> None:
        """Short tries with long pauses; once something is held, only as long as it may be held."""
        budgets = self._policy.budgets
        patience = budgets.lock_patience if tx.locked_at is None else budgets.lock_hold
        granted = lock(self._pipe, self._policy, statement, patience)
        tx.locked_at = tx.locked_at or granted
        self._pipe.deadline = tx.locked_at + budgets.lock_hold

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
            self._next = max(self._next, int(sequence or 0) + 1)
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
                self._catch(tx, table, keep, key, tuple(name for name in there if name not in key))
            case KeepHow.WHOLE_TABLE:
                self._copy(tx, table, keep, (), _all_columns(table))
            case KeepHow.COLUMNS if there:
                rest = keep.key or tuple(name for name in _all_columns(table) if name not in there)
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

    def _copy(
        self, tx: Transaction, table: Table, keep: Keep, key: tuple[str, ...], wanted: tuple[str, ...]
    ) -> None:
        kept, sequence = self._new_name(table)
        target = sql.Identifier(KEPT_SCHEMA, kept)
        query = sql.SQL("CREATE TABLE {} AS SELECT {} FROM {}").format(
            target, columns((*key, *wanted)), sql.SQL(table.name)
        )
        if keep.how is KeepHow.COLUMNS:
            # IS NOT NULL would be false for a composite value with one empty field
            present = (sql.SQL("{} IS DISTINCT FROM NULL").format(sql.Identifier(n)) for n in wanted)
            query = sql.SQL("{} WHERE {}").format(query, sql.SQL(" OR ").join(present))
        answer = self._pipe.inject([(text(query), ())])[0]
        self._close_to_others(target)
        rows = int(answer.tag.rsplit(" ", 1)[-1])
        tx.copies.append(Copy(keep, table.oid, sequence, kept, key, wanted, rows))

    def _new_name(self, table: Table) -> tuple[str, int]:
        sequence, self._next = self._next, self._next + 1
        return kept_table(self._plan.incident, table.oid, sequence), sequence

    def _close_to_others(self, target: sql.Identifier) -> None:
        """Default privileges gave the application's role the right to read kept values, once."""
        grantees = self._pipe.rows(
            """SELECT DISTINCT coalesce(r.rolname, '') FROM pg_catalog.pg_class c
               CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) a
               LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
               WHERE c.oid = pg_catalog.to_regclass($1) AND a.grantee <> c.relowner""",
            text(target),
        )
        roles = [sql.Identifier(row[0]) if row[0] else sql.SQL("PUBLIC") for row in grantees]
        revoke = sql.SQL("REVOKE ALL ON {} FROM {}")
        self._pipe.inject([(text(revoke.format(target, role)), ()) for role in (*roles, sql.SQL("PUBLIC"))])

    # --- rows

    def _catch(
        self, tx: Transaction, table: Table, keep: Keep | None, key: tuple[str, ...], stored: tuple[str, ...]
    ) -> None:
        kept, sequence = self._new_name(table)
        tables = tx.tables
        capture = Capture(tables.get(table.oid, table), kept, key, stored)
        members = [tables[oid] for oid in family(tables, table.oid) if oid in tables]
        self._pipe.inject([(query, ()) for query in captures.install(capture, members, table)])
        self._close_to_others(capture.where)
        tx.caught.append(Caught(capture, sequence, keep))

    def _watch_rows(self, tx: Transaction, writing: Sequence[Statement]) -> None:
        """Guard every table whose rows these statements change and that no keep covers whole.

        The plan says that nothing is lost there; the guard sees whether that is true, cell by cell. A
        column that this transaction added itself may be filled, of course.
        """
        if not (self._policy.keep or self._policy.gate):
            return
        writing = [s for s in writing if not self._is_bookkeeping(s)]
        try:
            if tx.reshaped and tx.caught:
                self._rewrite_functions(tx)
            for table in self._unguarded(tx, writing):
                self._guard(tx, table)
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
        bookkeeping = set(map(canonical, self._policy.gate.bookkeeping)) if self._policy.gate else set()
        whole = {copy.oid for copy in tx.copies if copy.keep.how is KeepHow.WHOLE_TABLE}
        covered = {oid for root in whole for oid in family(tx.tables, root)}
        covered |= {oid for c in tx.caught for oid in family(tx.tables, c.capture.table.oid)}
        planned = [keep.table for keep in self._plan.keeps]
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

    def _guard(self, tx: Transaction, table: Table) -> None:
        with self._own_settings():
            self._lock(tx, f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE")
            now = read_tables(self._pipe)[table.oid]
            key = self._pipe.rows(
                """SELECT a.attnum::text FROM pg_catalog.pg_index i
                   JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                   WHERE i.indrelid = $1::pg_catalog.oid AND i.indisprimary""",
                str(table.oid),
            )
            numbers = [int(row[0] or 0) for row in key]
            known = all(number in table.columns for number in numbers)
            names = tuple(table.columns[number].name for number in numbers) if known else ()
            self._catch(tx, now, None, names, ())


def _all_columns(table: Table) -> tuple[str, ...]:
    """Names of all columns that hold values of their own, in the order of the table."""
    return tuple(c.name for _, c in sorted(table.columns.items()) if not c.generated)


def array(values: Sequence[str]) -> str:
    """A text[] literal."""
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in escaped) + "}"


def elements(literal: str) -> list[str]:
    """The elements of a text[] literal without NULLs."""
    found: list[str] = []
    inner, position = literal[1:-1], 0
    while position < len(inner):
        if inner[position] == '"':
            element, position = _quoted_element(inner, position + 1)
        else:
            end = inner.find(",", position)
            end = len(inner) if end < 0 else end
            element, position = inner[position:end], end
        found.append(element)
        position += 1
    return found


def _quoted_element(inner: str, position: int) -> tuple[str, int]:
    element = ""
    while inner[position] != '"':
        position += inner[position] == "\\"
        element += inner[position]
        position += 1
    return element, position + 1


def seconds_held(tx: Transaction) -> float:
    """How long the locks have been held, seconds; 0.0 when none were taken."""
    return time.monotonic() - tx.locked_at if tx.locked_at is not None else 0.0
