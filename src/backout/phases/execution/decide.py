"""What a look at the target means: done, untouched, or in doubt; pure."""

from __future__ import annotations

from backout.model.execution import Execution, Outcome
from backout.model.plan import Proposal
from backout.phases.execution.facts import KeptValues, Sight


def outcome(sight: Sight, proposal: Proposal) -> Outcome:
    """History and schema decide; the tool's exit code never does."""
    if not sight.history_has_it and sight.schema == proposal.expected_schema:
        return Outcome.BACKED_OUT
    if sight.history_has_it and sight.schema == proposal.schema_fingerprint:
        return Outcome.UNTOUCHED
    return Outcome.IN_DOUBT


def untouched(proposal: Proposal) -> int:
    """How many tables the commit gate compared and found unwritten."""
    return proposal.untouched_tables


def found_done(proposal: Proposal, values: KeptValues, at: str) -> Execution:
    """The result of a down that an earlier process committed."""
    return Execution(
        strategy=proposal.strategy.value,
        outcome=Outcome.BACKED_OUT,
        tool=proposal.tool,
        tool_exit=-1,
        transactions=0,
        xids=(),
        locked_seconds=0.0,
        waited_seconds=0.0,
        seconds=0.0,
        kept=values.columns,
        values_destroyed=values.destroyed,
        values_kept=values.kept,
        statements=(),
        committed_at=at,
        how="found done",
    )
