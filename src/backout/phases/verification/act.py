"""Verify a back-out: history, schema, untouched tables, kept values, then the agreed checks."""

from __future__ import annotations

import time

from backout.model.check import Check, CheckState
from backout.model.execution import Execution, Verification
from backout.model.plan import Proposal
from backout.phases.verification import decide
from backout.phases.verification.checks import run_plan
from backout.phases.verification.facts import After
from backout.ports.run import Run
from backout.ports.world import World
from backout.postgres import activity, kept
from backout.postgres.catalog import portable_digest, read_schema


def verify(
    run: Run,
    world: World,
    proposal: Proposal,
    done: Execution,
    held: tuple[str, ...] = (),
    more: tuple[Check, ...] = (),
) -> Verification:
    """The checks right after the run; a step, so that the story can end with them.

    `held` names jobs that the incident itself holds: their smoke tests wait for the release. `more` are
    checks that another phase has made.
    """
    return run.step(
        "verification.checks",
        Verification,
        lambda attempt: look(world, proposal, done, attempt.name, held, more),
    )


def look(
    world: World,
    proposal: Proposal,
    done: Execution,
    name: str,
    held: tuple[str, ...] = (),
    more: tuple[Check, ...] = (),
) -> Verification:
    """All checks, once, as they are now."""
    begun = time.monotonic()
    after = gather(world, proposal, name)
    checks = (
        *decide.facts(after, proposal, done),
        *more,
        *_agreed(world, name, held),
    )
    return Verification(checks, world.now().isoformat(timespec="seconds"), round(time.monotonic() - begun, 1))


def _agreed(world: World, name: str, held: tuple[str, ...]) -> tuple[Check, ...]:
    """The validation plan; smoke tests that write wait while a job they need is held."""
    checks = run_plan(decide.ready(world.validation, held), world.databases, name)
    waiting = tuple(
        Check(spec.name, CheckState.SKIPPED, f"{', '.join(held)} held; run after: backout release")
        for spec in decide.waiting(world.validation, held)
    )
    return (*checks, *waiting, *decide.not_configured(world.validation))


def gather(world: World, proposal: Proposal, name: str) -> After:
    """History, schema and kept values of the target, as they are now."""
    with world.databases.observe(name) as session:
        history = world.migrator.history(session)
        fingerprint = portable_digest(read_schema(session), frozenset({history.table}))
        invalid = tuple(index.name for index in activity.invalid_indexes(session))
    with world.databases.operate(name) as session:
        counts = kept.counts(session, proposal.incident)
    names = {row.name for row in history.rows}
    back = tuple(m.name for m in proposal.migrations if m.name in names)
    return After(history.table, back, fingerprint, counts, invalid)
