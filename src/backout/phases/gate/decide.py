"""The gate's judgement: is what was approved still what would run, and is the checklist complete?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from backout.errors import Refused
from backout.model.check import Check, CheckState
from backout.model.gate import Policy, Proposals
from backout.model.people import Approval, Role
from backout.model.plan import Proposal, Verdict
from backout.model.snapshot import Proof, Scope, Snapshot
from backout.model.validation import ValidationPlan
from backout.phases.gate import approvals as approvals_rule
from backout.phases.gate.facts import PresentState

_RANK = {Scope.RECORDED.value: 0, Scope.BLAST_RADIUS.value: 1, Scope.WHOLE.value: 2}


def void_reasons(proposal: Proposal, now: PresentState) -> tuple[str, ...]:
    """Why the approvals of this proposal are void; empty when they hold.

    Void iff a field other than a loss count differs, it expired, or a newer migration exists.
    """
    reasons = []
    if now.is_copy:
        reasons.append("the target carries the marker of a copy: it is not the production that was meant")
    if now.identity != proposal.target:
        reasons.append(f"the target is another database: {now.identity}, approved was {proposal.target}")
    if now.newer:
        reasons.append(f"{now.newer[-1]} came after")
    reasons += _changed_migrations(proposal, now)
    for what, before, after in (
        ("the schema", proposal.schema_fingerprint, now.schema_fingerprint),
        ("the migration tool", proposal.tool, now.tool),
        ("the tool's command or configuration", proposal.environment_digest, now.environment_digest),
        ("the validation plan", proposal.validation_digest, now.validation_digest),
        ("the list of people", proposal.allowed_signers_digest, now.allowed_signers_digest),
    ):
        if before != after:
            reasons.append(f"{what} changed since it was rehearsed")
    if datetime.fromisoformat(now.at) >= datetime.fromisoformat(proposal.expires_at):
        reasons.append(f"it expired at {proposal.expires_at}")
    return tuple(reasons)


def _changed_migrations(proposal: Proposal, now: PresentState) -> list[str]:
    present = {m.name: m for m in now.migrations}
    reasons = []
    for planned in proposal.migrations:
        found = present.get(planned.name)
        if found is None:
            reasons.append(f"{planned.name} is no longer in the history or on disk")
        elif found.sha256 != planned.sha256:
            reasons.append(f"the file of {planned.name} changed: sha differs from the approved one")
        elif found.position != planned.position:
            reasons.append(f"{planned.name} moved in the history")
    return reasons


def checklist(
    policy: Policy,
    proposal: Proposal,
    approvals: Sequence[Approval],
    snapshot: Snapshot,
    proof: Proof,
    whole: Snapshot | None,
    validation: ValidationPlan,
    channel: str,
    go: Mapping[str, str],
) -> tuple[Check, ...]:
    """The runbook's mandatory checklist, as named checks."""
    return (
        _snapshot_check(policy, snapshot, proof, whole),
        approvals_rule.decide(policy, approvals, proposal.requested_by),
        _reviewed(approvals, proposal),
        _application(go),
        _window(proposal),
        _validation(validation),
        Check("channel", CheckState.PASS, channel),
    )


def _snapshot_check(policy: Policy, snapshot: Snapshot, proof: Proof, whole: Snapshot | None) -> Check:
    """Proven in the scope that the policy demands; beside a proof of the blast radius alone, a whole
    snapshot with an ID taken after the incident was opened."""
    name = "snapshot"
    if not proof.holds:
        return Check(name, CheckState.FAIL, f"{snapshot.id} is taken, not proven", "backout snapshot prove")
    if _RANK[snapshot.scope.value] < _RANK[policy.scope]:
        detail = f"{snapshot.id} covers {snapshot.scope.value}; the policy demands {policy.scope}"
        return Check(name, CheckState.FAIL, detail, 'set snapshot.scope = "whole", then: backout propose')
    detail = f"{snapshot.id}, {snapshot.scope.value}, proven {proof.proven_at}"
    if snapshot.scope is Scope.WHOLE:
        return Check(name, CheckState.PASS, detail)
    if whole is None:
        missing = f"{detail}; no whole snapshot with an ID was taken since the incident was opened"
        return Check(name, CheckState.FAIL, missing, "backout snapshot take, or backout snapshot record ID")
    return Check(name, CheckState.PASS, f"{detail}; whole: {whole.id}, not proven")


def _reviewed(approvals: Sequence[Approval], proposal: Proposal) -> Check:
    """A person who owns migrations was shown the captured statements and signed their digest."""
    owners = [a.person for a in approvals if a.role is Role.OWNER]
    if owners:
        detail = f"{len(proposal.statements)} captured statements, signed by {', '.join(owners)}"
        return Check("down reviewed", CheckState.PASS, detail)
    if approvals:
        return Check("down reviewed", CheckState.WARN, "signed by people who are not enrolled as owner")
    return Check("down reviewed", CheckState.UNKNOWN, "nobody has signed the captured statements")


def _application(go: Mapping[str, str]) -> Check:
    """Which version will run on the old schema, and who says that it can."""
    version, person = go.get("application", ""), go.get("confirmed_by", "")
    if version and person:
        return Check("application", CheckState.PASS, f"{version}, confirmed by {person}")
    detail = "nobody said which version will run on the old schema"
    return Check("application", CheckState.WARN, detail, "run --application VERSION --confirmed-by NAME")


def _window(proposal: Proposal) -> Check:
    if proposal.window:
        return Check("window", CheckState.PASS, proposal.window)
    return Check(
        "window", CheckState.SKIPPED, "no maintenance window named; users are not notified by backout"
    )


def _validation(validation: ValidationPlan) -> Check:
    if not validation.checks:
        return Check(
            "validation plan",
            CheckState.FAIL,
            "empty: nobody could say whether the rollback worked",
            "add [target.NAME.checks.X] to backout.toml, then: backout propose",
        )
    names = ", ".join(spec.name for spec in validation.checks)
    return Check("validation plan", CheckState.PASS, f"{len(validation.checks)} checks: {names}")


def nothing_to_choose(incident: str, target: str, proposals: Proposals) -> Refused:
    """The answer to whoever wants to go on although no row of the table may be approved."""
    refused = [row for row in proposals.options if row.verdict is Verdict.REFUSED]
    reasons = "; ".join(f"{row.strategy.value} is refused: {row.reason}" for row in refused)
    return Refused(
        f"no way back can be approved{f': {reasons}' if reasons else ''}",
        where=target,
        intact="everything; nothing was signed and nothing runs",
        next=f"backout sheet {incident}",
    )
