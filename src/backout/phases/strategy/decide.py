"""Compare the rehearsals and say what each way back costs; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backout.model.loss import Basis, DestroyedBy, Loss
from backout.model.plan import Budgets, LockForecast, Option, Rehearsal, Strategy, Verdict, disk_need
from backout.model.triage import Triage
from backout.phases.strategy import halfway
from backout.render import words


def options(
    found: Triage,
    rehearsals: Sequence[Rehearsal],
    budgets: Budgets,
    no_down: str,
    no_restore: str,
    no_backup: str = "",
) -> tuple[Option, ...]:
    """The rows of the strategy table, in the order A, B, C, D, F (F alone, for a partly applied one).

    `no_down` and `no_restore` say why A and B could not be rehearsed, `no_backup` why the configured base
    backups did not serve D.
    """
    by_strategy = {r.strategy: r for r in rehearsals}
    ways_out = halfway.ranked(
        found,
        [
            _rehearsed(plan.strategy, by_strategy.get(plan.strategy), budgets, "")
            for plan in halfway.plans(found)
        ],
    )
    if found.partly_applied:
        return ways_out
    rehearsed = by_strategy.get(Strategy.A)
    down = _rehearsed(Strategy.A, rehearsed, budgets, no_down)
    repair = _in_place(by_strategy.get(Strategy.D), rehearsed, budgets, no_backup)
    beside = any(row.verdict is Verdict.RECOMMENDED for row in (down, repair))
    return (
        down,
        _restored(by_strategy.get(Strategy.B), budgets, no_restore, beside=beside),
        _missing(Strategy.C, "no deploy adapter is configured"),
        repair,
        *ways_out,
    )


def _restored(rehearsed: Rehearsal | None, budgets: Budgets, why_not: str, *, beside: bool) -> Option:
    """The restore. Beside a recommended way in place (`beside`) it is possible: it moves the application to
    another server, which then stands without what surrounded the old one."""
    if rehearsed is None:
        return _missing(Strategy.B, why_not)
    row = _rehearsed(Strategy.B, rehearsed, budgets, "")
    plan = rehearsed.restore
    if plan is None or row.verdict is not Verdict.RECOMMENDED:
        return row
    fates = plan.forecast.fates
    told = (
        f"so far {fates.carried:,} writes carried, {fates.archived:,} kept, {fates.parked:,} parked, "
        f"{fates.listed:,} listed; {plan.lever}: {plan.promise}, {plan.pause}"
    )
    told += f"; WRITE PAUSE {plan.unattended}" if plan.unattended else ""
    if plan.canary_seconds:
        told += f"; canary reads for {words.duration(plan.canary_seconds)} before it"
    verdict = Verdict.POSSIBLE if beside or plan.uncovered else Verdict.RECOMMENDED
    return replace(row, verdict=verdict, reason=told, lost=0)


def _in_place(repair: Rehearsal | None, down: Rehearsal | None, budgets: Budgets, no_backup: str) -> Option:
    """The down, and a repair after it from copies of before the migration."""
    if repair is None:
        return _missing(Strategy.D, _no_repair(down, no_backup))
    row = _rehearsed(Strategy.D, repair, budgets, "")
    plan = repair.repair
    if plan is None:
        return row
    told = f"brings {words.plural(plan.values_back, 'value')} back"
    told += f", parks {words.plural(plan.fates.parked, 'row')}" if plan.fates.parked else ""
    if row.verdict is not Verdict.RECOMMENDED:
        return replace(row, reason=f"{row.reason}; {told}" if row.reason else told)
    if not plan.source.exact:
        stale = f"{told}, {plan.source.label}"
        stale += f"; not from the base backup: {no_backup}" if no_backup else ""
        return replace(row, verdict=Verdict.POSSIBLE, reason=stale)
    return replace(row, reason=told)


def _no_repair(rehearsed: Rehearsal | None, no_backup: str) -> str:
    if rehearsed is not None and rehearsed.succeeded and not given_up(rehearsed.losses):
        return "nothing to repair"
    why = f"; not from the base backup: {no_backup}" if no_backup else ""
    adopt = "; a dump of that time serves too: backout snapshot adopt FILE"
    return f"no snapshot from before the migration is at hand{why}{adopt}"


def _missing(strategy: Strategy, what: str) -> Option:
    return Option(strategy, Verdict.NOT_EXECUTABLE, what, None, None, None, None, missing=what)


def given_up(losses: Sequence[Loss]) -> tuple[Loss, ...]:
    """What the up destroyed and the down does not give back, unknown counts included."""
    return tuple(
        loss
        for loss in losses
        if loss.by is DestroyedBy.UP
        and not loss.brought_back
        and (loss.values.basis is Basis.UNKNOWN or (loss.values.count or 0) > 0)
    )


def unkept(losses: Sequence[Loss]) -> tuple[Loss, ...]:
    """What this down destroys and backout cannot keep."""
    return tuple(loss for loss in losses if loss.by is DestroyedBy.DOWN and not loss.kept)


def kept_values(losses: Sequence[Loss]) -> int:
    """Values that this down destroys and backout keeps."""
    return sum(loss.values.count or 0 for loss in losses if loss.by is DestroyedBy.DOWN and loss.kept)


def accept_by_name(rehearsed: Rehearsal) -> tuple[str, ...]:
    """The names an approver repeats when a strategy is chosen although it does not give everything back, or
    gives tables back whose values are stale."""
    if rehearsed.restore is not None:
        left = (f"without {name}" for name in rehearsed.restore.missing)
        unseen = (f"not in the log {table}" for table in rehearsed.restore.uncovered)
        return tuple(sorted((*left, *unseen)))
    if rehearsed.strategy not in (Strategy.A, Strategy.D):
        return ()
    names = {name_of(loss) for loss in given_up(rehearsed.losses)}
    plan = rehearsed.repair
    if plan is not None and not plan.source.exact:
        names |= {f"stale {table.table.removeprefix('public.')}" for table in plan.tables}
    return tuple(sorted(names))


def name_of(loss: Loss) -> str:
    """`users.full_name`, or the table alone for whole rows; schema `public` goes without saying."""
    table = loss.object.removeprefix("public.")
    return f"{table}.{loss.column}" if loss.column else table


def _rehearsed(strategy: Strategy, rehearsed: Rehearsal | None, budgets: Budgets, why_not: str) -> Option:
    if rehearsed is None:
        return Option(strategy, Verdict.REFUSED, why_not or "it could not be rehearsed", *_NO_FIGURES)
    figures = (
        sum(loss.values.count or 0 for loss in unkept(rehearsed.losses)),
        kept_values(rehearsed.losses),
        rehearsed.locked_seconds,
        rehearsed.seconds,
    )
    verdict, reason = _judge(rehearsed, budgets)
    what = "the down" if strategy is Strategy.A else "it"
    change = f"{strategy.value} would be refused if {what} failed, or {_limits(budgets)}."
    return Option(strategy, verdict, reason, *figures, would_change=change)


def _limits(budgets: Budgets) -> str:
    held = f"held its lock longer than {budgets.lock_hold:g} s"
    if budgets.disk_bytes is None:
        return held
    return f"{held}, or needed more than {budgets.disk_bytes:,} bytes of disk"


_NO_FIGURES = (None, None, None, None)


def _judge(rehearsed: Rehearsal, budgets: Budgets) -> tuple[Verdict, str]:
    if not rehearsed.succeeded:
        fails = "the down fails: " if rehearsed.strategy is Strategy.A else ""
        return Verdict.REFUSED, f"{fails}{rehearsed.failure}"
    lost = unkept(rehearsed.losses)
    if lost:
        names = ", ".join(sorted({name_of(loss) for loss in lost}))
        return Verdict.REFUSED, f"what it destroys cannot be kept: {names}"
    if not rehearsed.kept_equals_destroyed:
        return Verdict.REFUSED, "the rehearsal kept another number of values than the down destroyed"
    if rehearsed.locked_seconds > budgets.lock_hold:
        held = f"it held its lock {rehearsed.locked_seconds:.1f} s; the budget is {budgets.lock_hold:g} s"
        return Verdict.REFUSED, held + _other_way(rehearsed.lock_forecast)
    if budgets.too_much(rehearsed.kept_bytes):
        need, limit = disk_need(rehearsed.kept_bytes), budgets.disk_bytes or 0
        return (
            Verdict.REFUSED,
            f"keeping needs {need:,} bytes on the target's disk, WAL included; budgets.disk is {limit:,}",
        )
    missing = given_up(rehearsed.losses)
    if missing:
        told = ", ".join(map(_given_up_words, missing))
        return Verdict.ADVISED_AGAINST, f"{rehearsed.strategy.value} does not give back {told}"
    if rehearsed.differences_basis == "before the up" and rehearsed.schema_differences:
        count = len(rehearsed.schema_differences)
        return Verdict.POSSIBLE, f"the schema afterwards differs in {count} places from the one before the up"
    return Verdict.RECOMMENDED, ""


def _other_way(forecast: LockForecast | None) -> str:
    """What a pre-copy would make of it, or why there is none."""
    if forecast is None:
        return ""
    if forecast.pre_copy_seconds is not None:
        both = f"{forecast.under_lock_seconds:.1f} s, with a pre-copy {forecast.pre_copy_seconds:.1f} s"
        return f"; doubled, for production: {both}"
    whys = [f"{words.plain_table(row.table)}: {row.reason}" for row in forecast.tables if row.reason]
    return f"; no pre-copy: {'; '.join([forecast.reason, *whys])}"


def _given_up_words(loss: Loss) -> str:
    if loss.values.count is None:
        return f"{name_of(loss)}, number of values unknown"
    bound = "at most " if loss.values.basis is Basis.AT_MOST else ""
    return f"{name_of(loss)}, {bound}{loss.values.count:,} values"


def recommended(rows: Sequence[Option]) -> str:
    """The letter of the recommended strategy, or empty."""
    return next((row.strategy.value for row in rows if row.verdict is Verdict.RECOMMENDED), "")


def choosable(row: Option) -> bool:
    """Whether people may approve this row at all."""
    return row.verdict in (Verdict.RECOMMENDED, Verdict.POSSIBLE, Verdict.ADVISED_AGAINST)
