"""Can the old state be restored beside the live database without losing a write, and what would it be
without; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backout.model.check import Check, CheckState
from backout.model.guard import Guard, Reach
from backout.model.loss import Basis, DestroyedBy, Loss
from backout.model.plan import Rehearsal, Strategy
from backout.model.recovery import Lsn
from backout.model.restore import LogSource, NewSide, RestorePlan, Surroundings
from backout.model.snapshot import BeforeUp
from backout.model.triage import Triage
from backout.phases.restore.facts import Ground

_NOT_SEEN = (
    "not seen between two states: values that were overwritten since, or are what the up had stored; a key"
    " that another row has since gets back what the up took from the former row",
)
"""Of the writes, where no log tells them."""
_NOT_OURS = ("expiry",)
"""What a guard's health says and a replay does not mind: an open incident keeps an expired guard."""


def why_not_here(found: Triage, *, backups: bool, place: bool) -> str:
    """Why no restore can be offered, from what is configured and known; empty when one can be tried."""
    if found.partly_applied:
        return "the migration was applied in part: clean it up or finish it"
    if not place:
        return "backout.toml does not say how traffic is moved (target.NAME.traffic)"
    if not backups:
        return "no base backups and WAL are configured (target.NAME.backups)"
    if len(found.offending) > 1:
        return f"{len(found.offending) - 1} newer migrations would be gone with it"
    return ""


def not_worth_it(down: Rehearsal | None) -> str:
    """Why a restore is not tried although it could be: the down alone gives everything back."""
    if down is not None and down.succeeded and not any(_given_up(loss) for loss in down.losses):
        return "the down gives everything back: there is nothing to restore for"
    return ""


def _given_up(loss: Loss) -> bool:
    unknown = loss.values.basis is Basis.UNKNOWN
    return loss.by is DestroyedBy.UP and not loss.brought_back and (unknown or bool(loss.values.count))


def why_not_between(before: BeforeUp) -> str:
    """Why there are no two states that enclose the migration and nothing else; empty when there are."""
    if not before.after:
        return "no base backup and WAL reach the migration on both sides"
    if before.commits_inside:
        return f"{before.commits_inside} other transactions committed inside the migration"
    return ""


def why_not_from(guard: Guard, found: Triage, before: BeforeUp, health: Sequence[Check]) -> str:
    """Why the log of this guard does not carry every write since the migration; empty when it does."""
    if not guard.slot:
        return f"guard {guard.id} has no slot"
    if guard.identity.database_oid != found.identity.target.database_oid:
        return f"guard {guard.id} was armed in another database"
    first = Lsn.parse(before.commits[0][1])
    if Lsn.parse(guard.slot_lsn) > first:
        return f"guard {guard.id} was armed only after the migration"
    red = [check for check in health if not check.good and check.name not in _NOT_OURS]
    return "; ".join(f"guard {guard.id}: {check.name}: {check.detail}" for check in red[:2])


def log_source(guard: Guard, before: BeforeUp) -> LogSource:
    """Where the writes are read; the migration is known by its marker and by its transactions."""
    xids = dict.fromkeys((*guard.xids, *(xid for xid, _ in before.commits)))
    return LogSource(guard.id, guard.slot, guard.publications, guard.slot_snapshot, tuple(xids))


def uncovered(guard: Guard) -> tuple[str, ...]:
    """Tables of which the log does not hold every write, as people accept them by name."""
    return tuple(
        f"{'updates of ' if table.reach is Reach.INSERTS else ''}{table.table.removeprefix('public.')}"
        for table in guard.coverage
        if table.reach is not Reach.EVERY
    )


def surroundings(ground: Ground) -> Surroundings:
    """What the new side will be without. Each is a word that people repeat when they accept it."""
    found: list[tuple[str, str]] = []
    if ground.standbys:
        found.append(("standbys", ", ".join(ground.standbys)))
    if ground.synchronous:
        found.append(("synchronous commit to standbys", ground.synchronous))
    if ground.archiving:
        found.append(("WAL archiving", "no backup until it is switched on there"))
    if ground.slots:
        found.append(("replication slots", ", ".join(ground.slots)))
    if ground.subscriptions:
        found.append(("subscriptions", ", ".join(ground.subscriptions)))
    if ground.cron_jobs or ground.cron_jobs is None:
        found.append(("cron jobs", "unknown" if ground.cron_jobs is None else f"{ground.cron_jobs}"))
    others = [one for one in ground.preloaded if one != "pg_cron"]
    if others:
        found.append(("preloaded libraries", ", ".join(others)))
    return Surroundings(tuple(name for name, _ in found), tuple(detail for _, detail in found))


def failure(ground: Ground, migration: str) -> str:
    """Why the restored instance cannot take over; empty when it can."""
    if ground.extensions_missing:
        return f"files of extensions are not on this machine: {', '.join(ground.extensions_missing)}"
    if migration in ground.history:
        return f"the restored history lists {migration} already"
    red = [check for check in ground.lever if check.state is CheckState.FAIL]
    return "; ".join(f"{check.name}: {check.detail}" for check in red[:2])


def rehearsed(
    down: Rehearsal | None, plan: RestorePlan, ground: Ground, migration: str, base: Rehearsal
) -> Rehearsal:
    """The record of a restore: everything that the up destroyed is there again, every write since carried,
    kept, parked or listed. `base` names copy, tool and versions."""
    losses = tuple(
        replace(loss, brought_back=True)
        for loss in (down.losses if down else ())
        if loss.by is DestroyedBy.UP
    )
    told = failure(ground, migration)
    details = zip(plan.missing, surroundings(ground).details, strict=True)
    return replace(
        base,
        succeeded=not told,
        failure=told,
        losses=losses,
        schema_now=ground.schema,
        schema_after=ground.new_schema,
        seconds=round(plan.new.seconds + plan.forecast.seconds, 2),
        locked_seconds=round(plan.hold_ms / 1000, 3),
        kept_equals_destroyed=True,
        differences_basis="before the up",
        not_measured=(
            *(f"the new side has no {name}: {detail}" for name, detail in details),
            *(f"not in the log: {table}" for table in plan.uncovered),
            *(() if plan.log.guard else _NOT_SEEN),
            *(f"rows without a parent after the replay: {line}" for line in plan.forecast.orphans),
        ),
        restore=plan,
    )


def bare(copy: str, tool: str, environment: str) -> Rehearsal:
    """A record in which nothing has happened yet."""
    return Rehearsal(
        *(Strategy.B, copy, tool, environment, False, "", (), 0, (), (), "", "", (), "unknown", (), (), ()),
        *(0.0, 0.0, 0, 0, False),
    )


def new_side(before: BeforeUp, instance: str, backup: str, seconds: float) -> NewSide:
    """The record of the restored instance."""
    return NewSide(instance, before.database, backup, before.taken_at, before.commits[0][1], seconds)
