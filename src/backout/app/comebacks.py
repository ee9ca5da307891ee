"""Did a migration come back after its watch had ended? Asked by the next command of any kind."""

from __future__ import annotations

from dataclasses import dataclass, replace

from backout.app.desk import Desk
from backout.errors import BackoutError
from backout.model.execution import Execution, Outcome
from backout.model.gate import Proposals
from backout.model.plan import Proposal


def alarms(desk: Desk) -> tuple[str, ...]:
    """One line for every backed-out migration that is applied again. A target that cannot be reached
    says nothing here: the command itself will."""
    found = (_alarm(desk, back_out) for back_out in _newest(desk))
    return tuple(line for line in found if line)


@dataclass(frozen=True, slots=True)
class BackOut:
    """A back-out that was carried out, with those of its migrations that no later one has taken out again."""

    incident: str
    proposal: Proposal
    at: str


def _newest(desk: Desk) -> tuple[BackOut, ...]:
    """The open incidents whose back-out still counts, oldest first. A migration that was backed out twice
    belongs to the newer incident, also when that one is closed."""
    found: list[BackOut] = []
    for incident_id in desk.app.journal.incidents():
        if incident_id.startswith("inc-"):
            found += _carried_out(desk, incident_id)
    found.sort(key=lambda one: one.at)
    latest = {_place(one, name): one.incident for one in found for name in _names(one)}
    counting = []
    for one in found:
        left = tuple(m for m in one.proposal.migrations if latest[_place(one, m.name)] == one.incident)
        here = desk.app.knows(one.proposal.target_name)
        if left and here and not desk.closed(one.incident):
            counting.append(replace(one, proposal=replace(one.proposal, migrations=left)))
    return tuple(counting)


def _names(back_out: BackOut) -> tuple[str, ...]:
    return tuple(m.name for m in back_out.proposal.migrations)


def _place(back_out: BackOut, name: str) -> tuple[str, str]:
    return back_out.proposal.target_name, name


def _alarm(desk: Desk, back_out: BackOut) -> str:
    proposal = back_out.proposal
    try:
        from backout.app.aftermath import world_after
        from backout.phases.verification.comeback import look_once
        from backout.postgres.connect import identify

        incident = desk.incident(back_out.incident)
        world = world_after(desk, incident, desk.need(incident.id, "execution.down", Execution))
        name = f"backout/{back_out.incident}/look"
        with world.databases.observe(name) as session:
            if proposal.restore is None and identify(session).target != proposal.target:
                return ""  # the name means another database by now
        sample = look_once(world, proposal, name)
    except BackoutError:
        return ""
    if not sample.history_has_it:
        return ""
    names = ", ".join(_names(back_out))
    return f"ALARM: {names} is applied again on {proposal.target_name} {sample.came_back_by}".rstrip()


def _carried_out(desk: Desk, incident_id: str) -> tuple[BackOut, ...]:
    """The incident's back-out, if there was one; a journal that cannot be read has none here."""
    try:
        done = desk.result(incident_id, "execution.down", Execution)
        proposals = desk.result(incident_id, "strategy.propose", Proposals)
    except BackoutError:
        return ()
    if done is None or done.outcome is not Outcome.BACKED_OUT or proposals is None:
        return ()
    from backout.app.aftermath import went_back

    if went_back(desk, incident_id) is not None:
        return ()  # by somebody's signature the migration is live again
    carried = (p for p in proposals.proposals if p.strategy.value == done.strategy and not p.lists_after)
    return tuple(BackOut(incident_id, proposal, done.committed_at) for proposal in carried)[:1]
