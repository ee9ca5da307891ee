"""Which tables are copied before the down, so that its locks fit their budget; pure.

A copy under the lock takes as long as the table is large. A pre-copy leaves only a scan for what was
written since. Production is not as quiet as a clone: what the rehearsal took counts twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from backout.model.plan import Budgets, Keep, KeepForecast, KeepHow, KeepWay, LockForecast
from backout.phases.rehearsal.facts import Keeping

DOUBLED = 2
_HOPED = 0.3
"""Share of its copy that is hoped to be left under the lock; how much it is, the rehearsal shows."""


def to_pre_copy(
    keeps: Sequence[Keep], keeping: Keeping, why_not: Mapping[str, str], budgets: Budgets
) -> frozenset[str]:
    """The tables to try with a pre-copy: the longest first, no more than the budget asks for.

    `keeping` is the rehearsal of everything under the lock, `why_not` the tables of columns to keep, with
    the reason where a table cannot be copied before. Empty = nothing to be tried: it fits, or cannot.
    """
    left = keeping.locked_seconds
    able = [table for table in _columns(keeps) if not why_not.get(table)]
    if _fits(left, budgets) or not _fits(left - sum(_took(keeping, table) for table in able), budgets):
        return frozenset()
    chosen: set[str] = set()
    for table in sorted(able, key=lambda name: -_took(keeping, name)):
        if _fits(left, budgets):
            break
        chosen.add(table)
        left -= (1 - _HOPED) * _took(keeping, table)
    return frozenset(chosen)


def kept_so(keeps: Sequence[Keep], tables: frozenset[str]) -> tuple[Keep, ...]:
    """The keeps with the columns of these tables copied before the down."""
    return tuple(
        replace(keep, way=KeepWay.PRE_COPY) if keep.table in tables and _by_columns(keep) else keep
        for keep in keeps
    )


def better(plain: Keeping, second: Keeping | None, budgets: Budgets) -> bool:
    """Whether the pre-copy is planned: it was rehearsed, and its locks fit the budget."""
    if second is None or second.failure or plain.failure:
        return False
    return _fits(second.locked_seconds, budgets)


def forecast(
    keeps: Sequence[Keep],
    plain: Keeping,
    second: Keeping | None,
    why_not: Mapping[str, str],
    tried: frozenset[str],
    budgets: Budgets,
) -> LockForecast | None:
    """Both ways, as people read them; None where no column is copied."""
    tables = _columns(keeps)
    if not tables:
        return None
    planned = better(plain, second, budgets)
    rows = (
        KeepForecast(
            table,
            KeepWay.PRE_COPY if planned and table in tried else KeepWay.UNDER_LOCK,
            _twice(_took(plain, table)),
            _twice(_took(second, table)) if second is not None and table in tried else None,
            why_not.get(table, ""),
        )
        for table in tables
    )
    beside = _twice(second.locked_seconds) if second is not None and not second.failure else None
    reason = "" if planned else _reason(plain, second, tables, why_not, budgets)
    return LockForecast(_twice(plain.locked_seconds), beside, tuple(rows), reason)


def _reason(
    plain: Keeping,
    second: Keeping | None,
    tables: Sequence[str],
    why_not: Mapping[str, str],
    budgets: Budgets,
) -> str:
    if _fits(plain.locked_seconds, budgets):
        return "not needed"
    if second is not None:
        return second.failure or "over the budget too"
    if all(why_not.get(table) for table in tables):
        return "no table can be copied before"
    rest = plain.locked_seconds - sum(_took(plain, table) for table in tables if not why_not.get(table))
    return f"what else is done under the locks takes {_twice(rest):.1f} s"


def _columns(keeps: Sequence[Keep]) -> tuple[str, ...]:
    return tuple(keep.table for keep in keeps if _by_columns(keep))


def _by_columns(keep: Keep) -> bool:
    return keep.how is KeepHow.COLUMNS


def _took(keeping: Keeping, table: str) -> float:
    return sum(seconds for name, seconds in keeping.copied if name == table)


def _fits(seconds: float, budgets: Budgets) -> bool:
    return DOUBLED * seconds <= budgets.lock_hold


def _twice(seconds: float) -> float:
    return round(DOUBLED * max(0.0, seconds), 3)
