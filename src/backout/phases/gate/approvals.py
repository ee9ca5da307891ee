"""Do the approvals satisfy the policy? Pure: a matching of people to slots."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import permutations

from backout.model.check import Check, CheckState
from backout.model.gate import Policy
from backout.model.people import Approval

SOLO_PAUSE_SECONDS = 120.0


def decide(policy: Policy, approvals: Sequence[Approval], requested_by: str) -> Check:
    """One distinct person per slot; the requester may hold at most one, or none when the policy is strict.

    A slot `sre` or `owner` wants an approval given in that role; `any` takes any; `solo` is one person,
    named in the configuration beforehand.
    """
    missing = missing_slots(policy, approvals, requested_by)
    names = ", ".join(f"{a.role.value}: {a.person}" for a in approvals) or "nobody yet"
    if not missing:
        return Check(
            "approvals", CheckState.PASS, f"{len(policy.approvals)} of {len(policy.approvals)} ({names})"
        )
    have = len(policy.approvals) - len(missing)
    return Check(
        "approvals",
        CheckState.FAIL,
        f"{have} of {len(policy.approvals)} ({names}); missing: {', '.join(missing)}",
        "another person has to approve",
    )


def missing_slots(policy: Policy, approvals: Sequence[Approval], requested_by: str) -> tuple[str, ...]:
    """The slots that no distinct person fills, for the best possible assignment."""
    usable = [a for a in approvals if policy.requester_may_approve or a.person != requested_by]
    best: tuple[str, ...] = policy.approvals
    candidates: list[Approval | None] = [*usable, *([None] * len(policy.approvals))]
    for chosen in permutations(candidates[:8], len(policy.approvals)):
        unfilled = _unfilled(policy, chosen)
        if len(unfilled) < len(best):
            best = unfilled
    return best


def _unfilled(policy: Policy, chosen: Sequence[Approval | None]) -> tuple[str, ...]:
    people: set[str] = set()
    empty = []
    for slot, approval in zip(policy.approvals, chosen, strict=True):
        if approval is None or approval.person in people or not _fits(policy, slot, approval):
            empty.append(slot)
        else:
            people.add(approval.person)
    return tuple(empty)


def _fits(policy: Policy, slot: str, approval: Approval) -> bool:
    if slot == "solo":
        return approval.person == policy.solo
    return slot == "any" or slot == approval.role.value


def second_reading_due(policy: Policy, first_read: datetime | None, now: datetime) -> float | None:
    """Seconds until a person who approves alone may sign: they read the loss a second time after a pause.

    0 = now; None = this is the first reading. Policies of several people have no pause.
    """
    if "solo" not in policy.approvals:
        return 0.0
    if first_read is None:
        return None
    return max(0.0, SOLO_PAUSE_SECONDS - (now - first_read).total_seconds())
