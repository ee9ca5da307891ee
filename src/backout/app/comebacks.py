"""Did a migration come back after its watch had ended? Asked by the next command of any kind."""

from __future__ import annotations

from backout.app.desk import Desk
from backout.errors import BackoutError
from backout.model.execution import Execution, Outcome
from backout.model.gate import Proposals
from backout.model.plan import Proposal


def alarms(desk: Desk) -> tuple[str, ...]:
    """One line for every backed-out migration that is applied again. A target that cannot be reached
    says nothing here: the command itself will."""
    found = []
    for incident_id in desk.app.journal.incidents():
        if not incident_id.startswith("inc-") or desk.closed(incident_id):
            continue
        line = _alarm(desk, incident_id)
        if line:
            found.append(line)
    return tuple(found)


def _alarm(desk: Desk, incident_id: str) -> str:
    try:
        proposal = _carried_out(desk, incident_id)
        if proposal is None:
            return ""
        from backout.phases.verification.comeback import look_once
        from backout.postgres.connect import identify

        world = desk.app.world(proposal.target_name)
        name = f"backout/{incident_id}/look"
        with world.databases.observe(name) as session:
            if identify(session).target != proposal.target:
                return ""  # the name means another database by now
        sample = look_once(world, proposal, name)
    except BackoutError:
        return ""
    if not sample.history_has_it:
        return ""
    names = ", ".join(m.name for m in proposal.migrations)
    return f"ALARM: {names} is applied again on {proposal.target_name} {sample.came_back_by}".rstrip()


def _carried_out(desk: Desk, incident_id: str) -> Proposal | None:
    done = desk.result(incident_id, "execution.down", Execution)
    proposals = desk.result(incident_id, "strategy.propose", Proposals)
    if done is None or done.outcome is not Outcome.BACKED_OUT or proposals is None:
        return None
    carried = (p for p in proposals.proposals if p.strategy.value == done.strategy and not p.lists_after)
    return next(carried, None)
