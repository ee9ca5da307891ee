"""What keeping and guarding share: our settings, locks in short tries, names, tables closed to others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock

from psycopg import sql

from backout.model.plan import Keep
from backout.model.statement import Statement, StatementClass
from backout.postgres.names import kept_table
from backout.postgres.proxy import capture as captures
from backout.postgres.proxy import held
from backout.postgres.proxy.capture import Capture, text
from backout.postgres.proxy.kept_tables import GRANTEES
from backout.postgres.proxy.locking import lock
from backout.postgres.proxy.pipe import Pipe
from backout.postgres.proxy.policy import KeepPlan, Policy
from backout.postgres.proxy.tables import Table, family, parts
from backout.postgres.proxy.transaction import Caught, Transaction

_NO_PLAN = KeepPlan((), "none")
_TEXT_FORM = {"DateStyle": "ISO, MDY", "IntervalStyle": "postgres", "extra_float_digits": "1"}
"""How types that are kept as their text are written, so that they can be read back without loss."""
_SETTINGS = ("lock_timeout", "statement_timeout", "row_security", *_TEXT_FORM)
# Where the platform can: our long copy ends soon after we were killed, not when it is done.
_NOTICE_DEATH = """SELECT pg_catalog.set_config('client_connection_check_interval', '500ms', true)
WHERE pg_catalog.version() ~ 'linux'
  AND pg_catalog.current_setting('client_connection_check_interval', true) IS NOT NULL"""


class Numbers:
    """Numbers of kept tables, shared by all sessions of a proxy."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._lock = Lock()

    def take(self) -> int:
        with self._lock:
            self._next += 1
            return self._next - 1

    def skip_to(self, number: int) -> None:
        """Never give a number below this one."""
        with self._lock:
            self._next = max(self._next, number)


class Bench:
    """The tools of one session."""

    def __init__(self, pipe: Pipe, policy: Policy, numbers: Numbers) -> None:
        self.pipe = pipe
        self.policy = policy
        self.numbers = numbers
        self.plan = policy.keep or _NO_PLAN

    @contextmanager
    def own_settings(self) -> Iterator[None]:
        """Our timeouts, and filtered rows as an error; afterwards what the tool had: SET LOCAL would last
        to its COMMIT, over its own statements. Neither SHOW nor SET takes a snapshot."""
        pipe, budgets = self.pipe, self.policy.budgets
        before = pipe.inject([(f"SHOW {name}", ()) for name in _SETTINGS])
        pipe.inject(
            [
                (f"SET LOCAL lock_timeout = {int(budgets.lock_timeout * 1000)}", ()),
                (f"SET LOCAL statement_timeout = {int(budgets.statement_timeout * 1000)}", ()),
                ("SET LOCAL row_security = off", ()),
                *((f"SET LOCAL {name} = '{value}'", ()) for name, value in _TEXT_FORM.items()),
            ]
        )
        yield
        restore = sql.SQL("SET LOCAL {} = {}")
        values = [sql.Literal(answer.rows[0][0]) for answer in before]
        pairs = zip(map(sql.Identifier, _SETTINGS), values, strict=True)
        pipe.inject([(text(restore.format(*pair)), ()) for pair in pairs])

    def lock(self, tx: Transaction, statement: str) -> None:
        """Short tries with long pauses; once something is held, only as long as it may be held."""
        budgets = self.policy.budgets
        patience = budgets.lock_patience if tx.locked_at is None else budgets.lock_hold
        granted, waited = lock(self.pipe, self.policy, statement, patience)
        tx.waited += waited
        tx.locked_at = tx.locked_at or granted
        held.look(self.pipe, tx, granted)
        self.pipe.deadline = tx.locked_at + budgets.lock_hold

    def notice_death(self) -> None:
        """Let our statements end soon after we were killed."""
        self.pipe.rows(_NOTICE_DEATH)

    def new_name(self, table: Table) -> tuple[str, int]:
        """Name and number of the next kept table."""
        sequence = self.numbers.take()
        return kept_table(self.plan.incident, table.oid, sequence), sequence

    def close_to_others(self, target: sql.Identifier) -> None:
        """Default privileges gave the application's role the right to read kept values, once."""
        grantees = self.pipe.rows(GRANTEES.format(name="$1"), text(target))
        roles = [sql.Identifier(row[0]) if row[0] else sql.SQL("PUBLIC") for row in grantees]
        revoke = sql.SQL("REVOKE ALL ON {} FROM {}")
        self.pipe.inject([(text(revoke.format(target, role)), ()) for role in (*roles, sql.SQL("PUBLIC"))])

    def catch(
        self,
        tx: Transaction,
        tables: Mapping[int, Table],
        table: Table,
        keep: Keep | None,
        names: tuple[tuple[str, ...], tuple[str, ...]],
    ) -> None:
        """Catch the rows of `table` (one of `tables`, as they are now); `names` = key, columns to store."""
        kept, sequence = self.new_name(table)
        capture = Capture(tx.tables.get(table.oid, table), kept, *names)
        members = [tables[oid] for oid in family(tables, table.oid)]
        self.pipe.inject([(query, ()) for query in captures.install(capture, members, table)])
        self.close_to_others(capture.where)
        tx.caught.append(Caught(capture, sequence, keep))

    def is_bookkeeping(self, statement: Statement) -> bool:
        """Whether a statement writes to the tool's own tables only."""
        own = {parts(name)[-1] for name in self.policy.gate.bookkeeping} if self.policy.gate else set()
        names = {parts(name)[-1] for name in statement.objects}
        return bool(names) and names <= own and statement.klass is StatementClass.WRITE
