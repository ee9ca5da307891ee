"""What the caller wants of the proxy: record, mark, keep, gate. Plain data, settled before the tool runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from backout.model.plan import Budgets, Keep

Rows = tuple[tuple[str | None, ...], ...]


class Injected(Protocol):
    """Runs one statement of ours in the tool's own transaction; values come back as text.

    Parameters are `$1`, `$2`, ... of type text. Raises `InjectionFailed` with the server's words; the
    transaction is then aborted.
    """

    def rows(self, query: str, *parameters: str | None) -> Rows: ...


@dataclass(frozen=True, slots=True)
class LockWait:
    """One attempt at the lock that ran into its timeout, or is about to."""

    attempt: int
    waited: float
    """Seconds since the first attempt."""
    holders: tuple[int, ...]
    """Process ids that stand in the way, as the observer saw them."""


@dataclass(frozen=True, slots=True)
class PreCopy:
    """A copy of key and columns made before the tool started, as one transaction snapshot saw them.

    Not complete, and so never counted as kept: under the lock the row versions of every transaction that
    was unfinished or later are added, and it gets the name of a kept table.
    """

    keep: Keep
    name: str
    """Bare name in schema `backout_kept`."""
    oid: int
    """Of the table that was copied."""
    horizon: str
    """The oldest transaction that was unfinished at the snapshot (xid8)."""
    rows: int
    numbers: tuple[tuple[str, int], ...]
    """Attribute number of each column: a column made anew under the old name is not the one copied."""


@dataclass(frozen=True, slots=True)
class KeepPlan:
    """What to keep before it is destroyed.

    Kept tables are called `names.kept_table(incident, oid, n)`; n goes up from `number`, or from what
    the manifest already holds for this incident.
    """

    keeps: tuple[Keep, ...]
    incident: str
    number: int = 1
    rewrites: tuple[str, ...] = ()
    """Tables (as in `Keep.table`) that the rehearsal saw rewritten although only columns are kept: their
    rows are counted before and after, since a rewrite and a TRUNCATE look alike in the catalog."""
    pre_copies: tuple[PreCopy, ...] = ()
    """Copies made before; a keep without one is copied under the lock."""


@dataclass(frozen=True, slots=True)
class GatePlan:
    """What must be true before the tool's COMMIT goes on, beside "nothing unkept was destroyed"."""

    attributes_after: tuple[tuple[str, str], ...] = ()
    """(table as named before the down, its attribute list when a transaction of the down commits).
    Several entries for one table are several allowed states; its state before is always allowed.
    Tables without an entry are not compared. Empty list = the table is gone."""
    bookkeeping: tuple[str, ...] = ()
    """Tables of the tool itself (history, lock), quoted and schema-qualified: it may change their rows."""


def _nobody(_pid: int) -> tuple[int, ...]:
    return ()


def _at_once() -> None:
    return None


def _go_on(_wait: LockWait) -> str | None:
    return None


def _ignore(_xid: str) -> None:
    return None


def _agree(_injected: Injected) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Policy:
    """Passed to `Proxy`. Without mark, keep and gate the proxy only records and changes no byte.

    The callables are called from the threads of the sessions.
    """

    mark: Mapping[str, str | int] | None = None
    """Body of the transactional message that begins every writing transaction."""
    origin_prefix: str = ""
    """Every session sets up a replication origin of its own: this, `_` and the number of the session."""
    keep: KeepPlan | None = None
    gate: GatePlan | None = None
    budgets: Budgets = field(default_factory=Budgets)
    watch: tuple[str, ...] = ()
    """Tables whose attribute lists are noted with every commit (a rehearsal asks for them)."""
    also: Callable[[Injected], str | None] = _agree
    """One more check at the gate: a reason to refuse the COMMIT, or None."""
    on_writing: Callable[[], None] = _at_once
    """Called before the first write of every transaction, when nothing is locked for it yet."""
    on_commit: Callable[[str], None] = _ignore
    """Called with the xid before COMMIT is forwarded; when it raises, the transaction is rolled back."""
    on_committed: Callable[[str], None] = _ignore
    """Called with the xid after the server confirmed the COMMIT."""
    blockers: Callable[[int], tuple[int, ...]] = _nobody
    """Asked while a lock is waited for: who blocks this process id (`pg_blocking_pids`, on a session of
    the caller's own)."""
    on_wait: Callable[[LockWait], str | None] = _go_on
    """Told of every attempt that was not granted; a text in return stops the waiting at once."""

    @property
    def passive(self) -> bool:
        """Whether the proxy only records."""
        return not (self.mark or self.origin_prefix or self.keep or self.gate or self.watch)


RECORD_ONLY = Policy()
