"""Judge a back-out from history, schema and kept values; pure."""

from __future__ import annotations

from collections.abc import Sequence

from backout.model.check import Check, CheckState
from backout.model.execution import Execution
from backout.model.plan import Finish, Proposal
from backout.model.validation import CheckKind, CheckSpec, ValidationPlan
from backout.phases.verification.facts import After

_MIGRATION = "migration"
"""Not `history`: so `init` calls a check of its own, which counts the rows of the whole history."""


def facts(after: After, proposal: Proposal, done: Execution) -> tuple[Check, ...]:
    """The checks that need no configuration."""
    if proposal.restore is not None:
        return (_history(after, proposal), _schema(after, proposal))
    return (
        _history(after, proposal),
        _schema(after, proposal),
        _untouched(done) if proposal.finish is None else _indexes(after, proposal.finish),
        _kept(after, done),
    )


def _history(after: After, proposal: Proposal) -> Check:
    if proposal.lists_after:
        missing = [m.name for m in proposal.migrations if m.name not in after.still_applied]
        table = after.history_table.removeprefix("public.")
        if missing:
            return Check(_MIGRATION, CheckState.FAIL, f"{table} does not list {', '.join(missing)}")
        return Check(_MIGRATION, CheckState.PASS, f"listed in {table}")
    if after.still_applied:
        return Check(
            _MIGRATION, CheckState.FAIL, f"{after.history_table} lists {', '.join(after.still_applied)}"
        )
    told = "reverted" if proposal.finish is None or proposal.finish.listed else "not listed"
    return Check(_MIGRATION, CheckState.PASS, f"{told} in {after.history_table.removeprefix('public.')}")


def _indexes(after: After, plan: Finish) -> Check:
    """An invalid index that was there before must be gone, or valid."""
    left = [name for name in after.invalid if name in plan.invalid]
    if left:
        return Check("indexes", CheckState.FAIL, f"still invalid: {', '.join(left)}")
    others = f"; {len(after.invalid)} invalid by others" if after.invalid else ""
    return Check("indexes", CheckState.PASS, f"none of it is invalid{others}")


def _schema(after: After, proposal: Proposal) -> Check:
    if after.schema == proposal.expected_schema:
        return Check("schema", CheckState.PASS, "0 differences to the schema the rehearsal ended with")
    return Check(
        "schema",
        CheckState.FAIL,
        "differs from the schema the rehearsal ended with",
        f"backout show {proposal.incident}",
    )


def _untouched(done: Execution) -> Check:
    """Other tables were not written by the down: the commit gate compared counters, files and catalog."""
    if done.how == "executed":
        detail = f"{done.untouched} tables: not written by the down, same files"
        return Check("untouched", CheckState.PASS, detail)
    return Check("untouched", CheckState.WARN, "the commit gate had passed; its counters were not seen again")


def _kept(after: After, done: Execution) -> Check:
    wrong = [table for table, recorded, present in after.kept if recorded != present]
    if wrong:
        return Check("kept", CheckState.FAIL, f"rows are missing in {', '.join(wrong)}")
    if done.values_kept and not after.kept:
        gone = f"{done.values_kept:,} were kept, and none is there any more: dropped since"
        return Check("kept", CheckState.WARN, gone)
    if done.values_kept != done.values_destroyed:
        return Check("kept", CheckState.FAIL, f"{done.values_kept:,} of {done.values_destroyed:,}")
    return Check("kept", CheckState.PASS, f"{done.values_kept:,} of {done.values_destroyed:,}")


def ready(plan: ValidationPlan, held: Sequence[str]) -> ValidationPlan:
    """The part of the plan that can be asked now."""
    if not held:
        return plan
    return ValidationPlan(
        tuple(spec for spec in plan.checks if spec.kind is not CheckKind.SMOKE_WRITE), plan.allow_writes
    )


# What the runbook asks for after every rollback, and which kind of check answers it.
_ASKED_FOR = {
    "health endpoint": (CheckKind.HTTP, 'http = "https://…/health"'),
    "read smoke": (CheckKind.SMOKE_READ, 'smoke = "read"'),
    "write smoke": (CheckKind.SMOKE_WRITE, 'smoke = "write"'),
}


def not_configured(plan: ValidationPlan) -> tuple[Check, ...]:
    """What the runbook asks for and the validation plan does not have: said, and never called passed."""
    kinds = {spec.kind for spec in plan.checks}
    return tuple(
        Check(name, CheckState.SKIPPED, "not configured", f"a check with {how} in backout.toml")
        for name, (kind, how) in _ASKED_FOR.items()
        if kind not in kinds
    )


def waiting(plan: ValidationPlan, held: Sequence[str]) -> tuple[CheckSpec, ...]:
    """Smoke tests that write: they need the jobs that the incident holds."""
    return tuple(s for s in plan.checks if held and s.kind is CheckKind.SMOKE_WRITE)
