"""Corrective actions: the runbook's typical ones, marked where the evidence here asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backout.model.check import CheckState
from backout.model.loss import DestroyedBy, Loss, LossKind
from backout.model.statement import Statement, StatementClass
from backout.render import losses, words
from backout.render.known import Known


@dataclass(frozen=True, slots=True)
class Action:
    """One proposed action. `evidence` is empty when it is only typical and nothing here asks for it."""

    kind: str
    """`prevent`, `detect`, `mitigate` or `process`."""
    text: str
    evidence: str = ""


def propose(known: Known) -> tuple[Action, ...]:
    """The runbook's four, then those that only the evidence brings; those with evidence first."""
    found = [*_typical(known), *_particular(known)]
    return tuple(sorted(found, key=lambda action: not action.evidence))


def _typical(known: Known) -> list[Action]:
    return [
        Action("prevent", "Improve migration tests and preflight procedures.", _tests(known)),
        Action("prevent", "Enforce backup-before-migration and verify restore steps.", _backup(known)),
        Action("prevent", "Adopt migration patterns: add, backfill, enforce.", _pattern(known)),
        Action("prevent", "Add guardrails for destructive operations; limit backfills.", _guardrails(known)),
    ]


def _losses(known: Known) -> tuple[Loss, ...]:
    return known.rehearsal.losses if known.rehearsal else ()


def _up(known: Known) -> Sequence[Statement]:
    return known.triage.up if known.triage else ()


def _tests(known: Known) -> str:
    rehearsal = known.rehearsal
    if rehearsal is not None and not rehearsal.succeeded:
        return f"the down failed when it was rehearsed: {rehearsal.failure}"
    if rehearsal is not None and rehearsal.schema_differences:
        return f"the down leaves {words.plural(len(rehearsal.schema_differences), 'schema difference')}"
    rules = sorted({hazard for statement in _up(known) for hazard in statement.hazards})
    return f"rules that the up meets, and no check stopped: {', '.join(rules)}" if rules else ""


def _backup(known: Known) -> str:
    up = losses.values(losses.of(_losses(known), DestroyedBy.UP))
    if up.count is None:
        return "nobody can tell how much the up destroyed: no snapshot from before it was at hand"
    return f"the up destroyed {words.figure(up)} values that the down does not give back" if up.count else ""


def _pattern(known: Known) -> str:
    written = [
        loss
        for loss in losses.of(_losses(known), DestroyedBy.DOWN)
        if loss.kind is LossKind.COLUMN_GONE and loss.written_since.count
    ]
    if written:
        named = ", ".join(losses.name(loss) for loss in written)
        return f"the down dropped columns that were written since: {named}"
    enforced = [s.summary or s.tag for s in _up(known) if _enforces(s)]
    return f"one migration added and enforced: {'; '.join(enforced)}" if enforced else ""


def _enforces(statement: Statement) -> bool:
    text = " ".join(statement.text.upper().split())
    return "SET NOT NULL" in text or ("ADD" in text and "CHECK (" in text)


def _guardrails(known: Known) -> str:
    wrote = [s.tag for s in _up(known) if s.klass in (StatementClass.WRITE, StatementClass.DYNAMIC)]
    if wrote:
        return f"the up changes rows in bulk or in ways that cannot be read beforehand: {', '.join(wrote)}"
    dropped = [s.summary or s.tag for s in _up(known) if "DROP " in s.text.upper()]
    return f"the up drops: {'; '.join(dropped)}" if dropped else ""


def _particular(known: Known) -> list[Action]:
    found = (
        _not_valid(known),
        _half_applied(known),
        _collateral(known),
        _locks(known),
        _came_back(known),
        _unknown(known),
        _still_kept(known),
    )
    return [action for action in found if action is not None]


def _not_valid(known: Known) -> Action | None:
    hits = [s.summary or s.tag for s in _up(known) if "NOT VALID" in s.text.upper()]
    if not hits:
        return None
    text = "Before a CHECK ... NOT VALID, prove that every writer satisfies it: it binds new rows at once."
    return Action("prevent", text, "; ".join(hits))


def _half_applied(known: Known) -> Action | None:
    if known.triage is None or not (known.triage.partly_applied or known.triage.invalid_indexes):
        return None
    named = ", ".join(index.name for index in known.triage.invalid_indexes)
    text = "Give each non-transactional statement a migration of its own, with its clean-up written down."
    return Action("prevent", text, f"applied in part{f'; invalid: {named}' if named else ''}")


def _collateral(known: Known) -> Action | None:
    if known.triage is None or not known.triage.collateral:
        return None
    text = "Watch a migration before the next one is applied on top of it."
    return Action("detect", text, f"undone with it: {', '.join(known.triage.collateral)}")


def _locks(known: Known) -> Action | None:
    done, proposal = known.execution, known.proposal
    if done is None or proposal is None:
        return None
    hold, patience = proposal.budgets.lock_hold, proposal.budgets.lock_patience
    held = done.locked_seconds > hold / 2
    if not held and done.waited_seconds <= patience / 4:
        return None
    text = "Make lock time part of the review: shorten what holds the table, end idle transactions."
    return Action(
        "mitigate",
        text,
        f"locked {words.duration(done.locked_seconds)} of {words.duration(hold)} allowed, "
        f"waited {words.duration(done.waited_seconds)} of {words.duration(patience)}",
    )


def _came_back(known: Known) -> Action | None:
    if known.watch is None or known.watch.came_back is None:
        return None
    by = known.watch.came_back.came_back_by or "by a session that nobody saw"
    return Action("prevent", "Take the migration out of every start command and deploy job.", f"applied {by}")


def _unknown(known: Known) -> Action | None:
    checks = known.verification.checks if known.verification else ()
    names = [c.name for c in checks if c.state in (CheckState.UNKNOWN, CheckState.SKIPPED)]
    if not names:
        return None
    return Action(
        "detect", "Make these checks answer, so that a rollback can be called good.", ", ".join(names)
    )


def _still_kept(known: Known) -> Action | None:
    if known.execution is None or not known.execution.values_kept:
        return None
    text = "Decide what becomes of the kept values: put back, export or drop."
    return Action("process", text, f"{words.plural(known.execution.values_kept, 'value')} wait")
