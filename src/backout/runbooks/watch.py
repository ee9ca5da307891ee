"""After the run: verify again, and watch that nobody applies the migration again."""

from __future__ import annotations

from backout.model.execution import Execution, Verification, Watch
from backout.model.plan import Proposal
from backout.phases.execution import hold
from backout.phases.verification import act as verification
from backout.phases.verification import comeback
from backout.ports.run import Run
from backout.ports.world import World


def verify_again(
    run: Run, world: World, proposal: Proposal, done: Execution, held: tuple[str, ...] = ()
) -> Verification:
    """All checks once more, recorded under this small story's own keys."""
    return verification.verify(run, world, proposal, done, held)


def watch(run: Run, world: World, proposal: Proposal, seconds: float) -> Watch:
    """Hold the tool's own lock and look every few seconds whether the migration came back."""
    with hold.migrations(world, proposal, run.incident):
        return run.step("ended", Watch, lambda _attempt: comeback.watch(run, world, proposal, seconds))
