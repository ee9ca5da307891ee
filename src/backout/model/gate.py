"""The gate: checklist, permit, clearance."""

from __future__ import annotations

from dataclasses import dataclass

from backout.model.check import Check
from backout.model.people import Approval
from backout.model.plan import Option, Proposal
from backout.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Policy:
    """What the gate demands in one environment."""

    environment: str
    approvals: tuple[str, ...] = ("sre", "owner")
    """One distinct person per entry; `any` = anybody enrolled; `solo` = one person, named beforehand."""
    requester_may_approve: bool = True
    """The requester may hold at most one of the slots; False: none."""
    scope: str = "blast radius"
    proposal_hours: float = 4.0
    solo: str = ""
    """For a policy of one person: who that is, named on a calm day."""


@dataclass(frozen=True, slots=True)
class Proposals:
    """All proposals of a round, one per strategy that can be approved, and the table of all options."""

    options: tuple[Option, ...]
    proposals: tuple[Proposal, ...]
    recommended: str
    """Strategy letter, or empty."""


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to take the fresh snapshot: the checklist passed, the approvals hold."""

    digest: str
    proposal: Proposal
    approvals: tuple[Approval, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Clearance:
    """Leave to act. Only the gate makes one."""

    permit: Permit
    snapshot: Snapshot
    """Taken right before, fully read back, not proven."""
