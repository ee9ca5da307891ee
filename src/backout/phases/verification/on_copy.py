"""The validation plan on a restored copy: what may be asked of it, and what must not reach production."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from backout.errors import BackoutError
from backout.model.check import Check, CheckState
from backout.model.validation import CheckKind, CheckSpec, ValidationPlan
from backout.phases.verification.checks import run_one
from backout.ports.world import Databases, World
from backout.postgres.pointing import pointed_at

_QUERIES = (CheckKind.SQL, CheckKind.REGCLASS)
_STARTED = (CheckKind.COMMAND, CheckKind.SMOKE_WRITE)
"""May start a person's own program."""


def environment(world: World, dsn: str) -> Mapping[str, str] | None:
    """What a command is started with: every variable that leads to the production leads to the copy.

    None when the production's connection strings cannot be told: then nothing is started.
    """
    try:
        production = (world.databases.operate_dsn(), world.databases.snapshot_dsn())
    except BackoutError:
        return None
    return pointed_at(dsn, production)


def run_plan(
    plan: ValidationPlan, databases: Databases, started_with: Mapping[str, str] | None, name: str
) -> tuple[Check, ...]:
    """Every check of the plan that a copy can answer; the others are skipped, each with the reason."""
    return tuple(_run(spec, plan, databases, started_with, name) for spec in plan.checks)


def _run(
    spec: CheckSpec,
    plan: ValidationPlan,
    databases: Databases,
    started_with: Mapping[str, str] | None,
    name: str,
) -> Check:
    reason = why_not(spec)
    if not reason and started_with is None and spec.kind in _STARTED:
        reason = "the production's connection strings cannot be read now, so nothing is started beside it"
    if reason:
        return Check(spec.name, CheckState.SKIPPED, reason)
    on_copy = replace(plan, allow_writes=True)  # it writes into the copy, and was allowed to there
    return run_one(spec, on_copy, databases, name, started_with)


def why_not(spec: CheckSpec) -> str:
    """Why this check says nothing about a copy, or must not be run at one; empty when it may."""
    if spec.kind in _QUERIES:
        return ""
    if spec.kind is CheckKind.HTTP or spec.subject.startswith(("http://", "https://")):
        return "asks the application, which is not on the copy"
    if spec.kind is CheckKind.SMOKE_READ or "on_copy" in spec.options:
        return ""
    return "not allowed on a copy (on_copy)"
