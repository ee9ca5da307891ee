"""Which statements and which verb of the tool lead out of a half-applied migration; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backout.model.plan import Strategy, ToolVerb
from backout.model.statement import Statement
from backout.model.triage import Triage
from backout.postgres.builds import Build
from backout.postgres.catalog import Schema
from backout.postgres.remedies import Remedy, complete, rebuilt, restore, undo
from backout.sql.effects import effects
from backout.sql.facts import EffectKind
from backout.sql.names import split_qualified


@dataclass(frozen=True, slots=True)
class WayOut:
    """A remedy, and what the tool does after it. With `refused` there is no way, and it says why."""

    steps: tuple[str, ...]
    verb: ToolVerb
    listed: bool
    lists_after: bool
    refused: str = ""
    untold: tuple[str, ...] = ()


def choose(found: Triage, strategy: Strategy, schema: Schema, settle: str, builds: Sequence[Build]) -> WayOut:
    """The way out, for the schema as it is now. `settle` takes the tool's dirty mark off; empty = none.

    Clean up ends with the migration out, finish with it in; what the history says now decides whether the
    up is undone or a broken-off down is made good.
    """
    row = found.history.find(found.offending[-1])
    listed = row is not None and not row.dirty
    lists_after = strategy is Strategy.F_FINISH
    busy = [b for b in builds if not b.ours]
    remedy = _remedy(found, strategy, schema, listed)
    verb = _verb(listed, lists_after)
    refused = remedy.refused
    if busy:
        refused = f"pid {busy[0].pid} ({busy[0].who}) is still at work on it; wait until it has ended"
    elif not found.up:
        refused = f"its statements are not known ({found.captured})"
    elif not remedy.steps and not settle and verb is ToolVerb.NONE:
        refused = "nothing of it is left to do"
    steps = (*remedy.steps, settle) if settle and not listed else remedy.steps
    return WayOut(steps, verb, listed, lists_after, refused, remedy.untold)


def _remedy(found: Triage, strategy: Strategy, schema: Schema, listed: bool) -> Remedy:
    if not listed:
        return undo(found.up, found.down, schema)
    if strategy is Strategy.F_CLEAN:
        return restore(found.up, schema)
    return complete(found.up, schema) if found.partly_applied else rebuilt(found.up, schema)


def _verb(listed: bool, lists_after: bool) -> ToolVerb:
    if listed == lists_after:
        return ToolVerb.NONE
    return ToolVerb.UP if lists_after else ToolVerb.DOWN


def names_in(statements: Sequence[Statement]) -> tuple[str, ...]:
    """Names of what these statements make or take: a session that is at work on it names one of them."""
    made = [e.other or e.column or e.table for s in statements for e in effects(s.text) if e.table]
    return tuple(dict.fromkeys(split_qualified(name)[-1] for name in made))


def destroys(step: str) -> bool:
    """Whether values may go with this statement."""
    return any(e.kind in (EffectKind.DROP_COLUMN, EffectKind.DROP_TABLE) for e in effects(step))


def blocking_step(step: str) -> bool:
    """Whether it holds a lock that others feel: everything but CONCURRENTLY."""
    return not any(effect.concurrently for effect in effects(step))
