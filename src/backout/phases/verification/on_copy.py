"""The validation plan on a restored copy: what may be asked of it, and what must not reach production."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from backout.model.check import Check, CheckState
from backout.model.validation import CheckKind, CheckSpec, ValidationPlan
from backout.phases.verification.checks import run_one
from backout.ports.world import Databases, World
from backout.postgres.pointing import pointed_at

_QUERIES = (CheckKind.SQL, CheckKind.REGCLASS)


def environment(world: World, dsn: str) -> Mapping[str, str]:
    """What a command is started with: every variable that leads to the production leads to the copy."""
    return pointed_at(dsn, (world.databases.operate_dsn(), world.databases.snapshot_dsn()))


def run_plan(
    plan: ValidationPlan, databases: Databases, started_with: Mapping[str, str], name: str
) -> tuple[Check, ...]:
    """Every check of the plan that a copy can answer; the others are skipped, each with the reason."""
    return tuple(_run(spec, plan, databases, started_with, name) for spec in plan.checks)


def _run(
    spec: CheckSpec, plan: ValidationPlan, databases: Databases, started_with: Mapping[str, str], name: str
) -> Check:
    if reason := why_not(spec):
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
