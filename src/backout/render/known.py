"""What is known of an incident when a page about all of it is drawn; all but its head may be missing."""

from __future__ import annotations

from dataclasses import dataclass

from backout.model.execution import Execution, Verification, Watch
from backout.model.gate import Proposals
from backout.model.incident import Incident
from backout.model.people import Approval
from backout.model.plan import Proposal, Rehearsal
from backout.model.repair import RepairDone
from backout.model.restore import RestoreDone, WentBack
from backout.model.snapshot import Proof, Snapshot
from backout.model.triage import Triage


@dataclass(frozen=True, slots=True)
class Known:
    """The records of one incident's newest round, for pages that look over several phases.

    `missing` are the slots of the policy that nobody fills; `notices` counts the notices sent.
    """

    incident: Incident
    triage: Triage | None = None
    snapshot: Snapshot | None = None
    """The proven one, not the fresh one right before execution."""
    proof: Proof | None = None
    rehearsals: tuple[Rehearsal, ...] = ()
    proposals: Proposals | None = None
    digests: tuple[tuple[str, str], ...] = ()
    """(strategy letter, hex digest) of every proposal."""
    approvals: tuple[Approval, ...] = ()
    missing: tuple[str, ...] = ()
    fresh: Snapshot | None = None
    """Taken right before execution."""
    execution: Execution | None = None
    repaired: RepairDone | None = None
    """Strategy D: what came back after the down."""
    anew: RestoreDone | None = None
    """Strategy B: the move of traffic, and what became of every write."""
    went_back: WentBack | None = None
    """Traffic left the restored instance again: the migration is live."""
    verification: Verification | None = None
    watch: Watch | None = None
    kept_until: str = ""
    """RFC 3339: how long the policy wants the kept values; empty when none is kept any more."""
    contained: tuple[str, ...] = ()
    """Jobs that are stopped until released."""
    notices: int = 0
    resolved: bool = False

    @property
    def rehearsal(self) -> Rehearsal | None:
        """The rehearsal of the strategy that was carried out, approved or recommended; else the newest."""
        fitting = [r for r in self.rehearsals if r.strategy.value == self.strategy] or self.rehearsals
        return fitting[-1] if fitting else None

    @property
    def strategy(self) -> str:
        """The letter of the strategy, as far as it is settled; else empty."""
        if self.execution is not None:
            return self.execution.strategy
        if self.approvals:
            return self.approvals[-1].strategy
        return self.proposals.recommended if self.proposals else ""

    @property
    def proposal(self) -> Proposal | None:
        """The proposal of that strategy."""
        rows = self.proposals.proposals if self.proposals else ()
        return next((p for p in rows if p.strategy.value == self.strategy), None)

    @property
    def digest(self) -> str:
        """Its hex digest; empty when there is none."""
        return dict(self.digests).get(self.strategy, "")
