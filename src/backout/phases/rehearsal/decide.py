"""Turn what a rehearsal saw into its record; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from backout.model.loss import DestroyedBy, Figure, Loss, LossKind
from backout.model.plan import Budgets, Keep, KeepHow, LockForecast, LockSeen, Plan, Rehearsal
from backout.model.statement import StatementClass
from backout.model.triage import Triage
from backout.phases.rehearsal.facts import Keeping, Pass, SchemaAfter
from backout.postgres.catalog import Schema
from backout.postgres.following import rows_reached
from backout.sql.effects import effects
from backout.sql.facts import Effect, EffectKind, Trait

# What an up can destroy, by the statements it sent; how much is known only from a snapshot before it.
_TAKES = {
    EffectKind.DROP_TABLE: LossKind.TABLE_GONE,
    EffectKind.DROP_COLUMN: LossKind.COLUMN_GONE,
    EffectKind.TRUNCATE: LossKind.ROWS_GONE,
    EffectKind.DELETE: LossKind.ROWS_GONE,
    EffectKind.UPDATE: LossKind.VALUES_CHANGED,
    EffectKind.ALTER_TYPE: LossKind.VALUES_CHANGED,
}
_EMPTIES = (EffectKind.TRUNCATE, EffectKind.DELETE)
NEVER_MEASURED = ("positions of sequences", "NOTIFY", "what triggers did outside this database")


def created_by_up(found: Triage) -> frozenset[tuple[str, str]]:
    """(table, column) that the up made: everything in them was written after the migration began."""
    return frozenset(
        (_qualified(effect.table), effect.column)
        for statement in found.up
        for effect in effects(statement.text)
        if effect.kind is EffectKind.ADD_COLUMN
    )


def filled_by_up(found: Triage) -> frozenset[tuple[str, str]] | None:
    """(table, column) that the up's own UPDATEs and INSERTs wrote; None when that cannot be told."""
    filled = set()
    for statement in found.up:
        if statement.klass is StatementClass.DYNAMIC:
            return None
        for effect in effects(statement.text):
            if effect.kind in (EffectKind.UPDATE, EffectKind.INSERT):
                if not effect.column:
                    return None
                filled.add((_qualified(effect.table), effect.column))
    return frozenset(filled) if found.up_known else None


def written_by_up(found: Triage, before: Schema) -> frozenset[str] | None:
    """Tables whose rows or cells the up may have destroyed while it left them standing, with those that went
    along over foreign keys; None = unknown. `before` is the schema before the up."""
    if not found.up_known or any(s.klass is StatementClass.DYNAMIC for s in found.up):
        return None
    kinds = (EffectKind.UPDATE, EffectKind.DELETE, EffectKind.TRUNCATE, EffectKind.ALTER_TYPE)
    did = [effect for s in found.up for effect in effects(s.text)]
    if any(Trait.FOREIGN_KEY in effect.traits for effect in did) and any(
        effect.kind is EffectKind.TRUNCATE and effect.cascade for effect in did
    ):
        return None  # it may follow a key that was not there before
    named = frozenset(_qualified(effect.table) for effect in did if effect.kind in kinds)
    return named | rows_reached((s.text for s in found.up), before)


def on_target(keeps: Sequence[Keep], oids: Mapping[str, int]) -> tuple[Keep, ...]:
    """The keeps with the oids that their tables have on production."""
    return tuple(replace(keep, oid_on_target=oids.get(keep.table, keep.oid_on_target)) for keep in keeps)


def _qualified(table: str) -> str:
    return table if "." in table else f"public.{table}"


def unknown_losses_of_up(found: Triage, now: Schema) -> tuple[Loss, ...]:
    """Without a snapshot from before: what the up's statements can have destroyed, with counts unknown.

    An UPDATE of a column that the same up added destroys nothing. Statements that could not be captured
    at all make one line for the whole migration. `now` tells which tables go along with one that is emptied.
    """
    losses = {loss.key: loss for loss in taken_by_statements(found)}
    if not found.up_known:
        return tuple(losses.values())
    made = {
        _qualified(e.table) for s in found.up for e in effects(s.text) if e.kind is EffectKind.CREATE_TABLE
    }
    emptied = [s.text for s in found.up if any(e.kind in _EMPTIES for e in effects(s.text))]
    for table in sorted(rows_reached(emptied, now) - made):
        loss = _unknown(table, "", LossKind.ROWS_GONE)
        losses.setdefault(loss.key, loss)
    return tuple(losses.values())


def taken_by_statements(found: Triage) -> tuple[Loss, ...]:
    """What the statements themselves name; what goes along with it by a cascade apart."""
    if not found.up_known:
        return (_unknown(found.offending[-1], "", LossKind.VALUES_CHANGED),) if found.offending else ()
    new_columns = created_by_up(found)
    made: set[str] = set()
    losses: dict[tuple[str, str, str], Loss] = {}
    for statement in found.up:
        for effect in effects(statement.text):
            if effect.kind is EffectKind.CREATE_TABLE:
                made.add(_qualified(effect.table))
            loss = _possible_loss(effect, made, new_columns)
            if loss is not None:
                losses.setdefault(loss.key, loss)
        if statement.klass is StatementClass.DYNAMIC:
            loss = _unknown("what dynamic SQL did", "", LossKind.VALUES_CHANGED)
            losses.setdefault(loss.key, loss)
    return tuple(losses.values())


def _possible_loss(effect: Effect, made: set[str], new: frozenset[tuple[str, str]]) -> Loss | None:
    table = _qualified(effect.table)
    if effect.kind not in _TAKES or table in made or (table, effect.column) in new:
        return None
    return _unknown(table, effect.column, _TAKES[effect.kind])


def _unknown(table: str, column: str, kind: LossKind) -> Loss:
    return Loss(table, column, kind, DestroyedBy.UP, Figure.unknown(), Figure.unknown())


def kept(losses: Sequence[Loss], keeps: Sequence[Keep], keeping: Keeping) -> tuple[Loss, ...]:
    """Mark what the second pass kept. A table that could not be kept leaves its losses unkept."""
    tables = {keep.table for keep in keeps} if not keeping.failure else set()
    return tuple(
        replace(loss, kept=True) if loss.by is DestroyedBy.DOWN and loss.object in tables else loss
        for loss in losses
    )


def destroyed(losses: Sequence[Loss]) -> int:
    """Values that the down destroyed, as the first pass measured them."""
    return sum(loss.values.count or 0 for loss in losses if loss.by is DestroyedBy.DOWN)


def equal(kept_values: int, losses: Sequence[Loss], keeps: Sequence[Keep]) -> bool:
    """Whether the second pass kept what the first saw destroyed.

    Where rows are caught it may hold more: what a statement changed and a later one gave back is an image
    from before as well. It may never hold less.
    """
    wanted = destroyed(losses)
    more = any(keep.how is KeepHow.CHANGED_ROWS for keep in keeps)
    return kept_values == wanted or (more and kept_values > wanted)


def without_limits(budgets: Budgets) -> Budgets:
    """On a clone the lock may be held and the disk be filled as it takes: the rehearsal finds out how much
    that is."""
    return replace(budgets, lock_hold=3600.0, disk_bytes=None)


def failed(tool: str, environment: str, plan: Plan, copy: str, seen: Pass) -> Rehearsal:
    """The record of a down that does not run."""
    return _record(tool, environment, plan, copy, seen)


def succeeded(
    tool: str,
    environment: str,
    plan: Plan,
    copy: str,
    seen: Pass,
    losses: Sequence[Loss],
    measured: Sequence[Loss],
    rewritten: tuple[str, ...],
    keeps: tuple[Keep, ...],
    touched: tuple[str, ...],
    not_measured: Sequence[str],
    after: SchemaAfter,
    keeping: Keeping,
    forecast: LockForecast | None = None,
) -> Rehearsal:
    """The record of a down that ran on both clones.

    `losses` are told to people, migration by migration; `measured` are those of the whole plan, which is
    what the second pass has to have kept.
    """
    base = _record(tool, environment, plan, copy, seen)
    return replace(
        base,
        succeeded=not keeping.failure,
        failure=keeping.failure,
        losses=kept(losses, keeps, keeping),
        keeps=keeps,
        schema_after=after.digest,
        schema_differences=after.differences,
        differences_basis=after.basis,
        locks=keeping.locks,
        rewrites=tuple(dict.fromkeys((*rewritten, *after.rewritten))),
        seconds=keeping.seconds,
        locked_seconds=keeping.locked_seconds,
        wal_bytes=keeping.wal_bytes,
        kept_values=keeping.kept_values,
        kept_bytes=keeping.kept_bytes,
        kept_equals_destroyed=equal(keeping.kept_values, measured, keeps),
        not_measured=tuple(dict.fromkeys((*NEVER_MEASURED, *not_measured, *_unseen_locks(base)))),
        touched=touched,
        attributes_after=keeping.attributes,
        untouched_tables=after.untouched,
        schema_now=after.now,
        lock_forecast=forecast,
    )


def locks(seen: Iterable[tuple[str, str, float]]) -> tuple[LockSeen, ...]:
    """What was held, (relation, mode, seconds) of every transaction: each once, the longest time of it."""
    longest: dict[tuple[str, str], float] = {}
    for relation, mode, seconds in seen:
        longest[relation, mode] = max(seconds, longest.get((relation, mode), 0.0))
    return tuple(LockSeen(*place, round(seconds, 3)) for place, seconds in longest.items())


def _unseen_locks(rehearsed: Rehearsal) -> tuple[str, ...]:
    """Locks are read right before a COMMIT; a statement outside a transaction has none."""
    return ("locks of statements outside a transaction",) if rehearsed.non_transactional else ()


def _record(tool: str, environment: str, plan: Plan, copy: str, seen: Pass) -> Rehearsal:
    bare = [s.text for s in seen.statements if s.klass is StatementClass.NON_TRANSACTIONAL]
    return Rehearsal(
        strategy=plan.strategy,
        copy=copy,
        tool=tool,
        environment_digest=environment,
        succeeded=False,
        failure=seen.failure,
        statements=seen.statements,
        transactions=seen.transactions,
        losses=(),
        keeps=(),
        schema_after="",
        schema_before_up="",
        schema_differences=(),
        differences_basis="unknown",
        locks=(),
        rewrites=(),
        non_transactional=tuple(bare),
        seconds=seen.seconds,
        locked_seconds=0.0,
        wal_bytes=0,
        kept_values=0,
        kept_equals_destroyed=False,
    )
