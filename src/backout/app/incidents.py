"""The verbs that advance an incident: open, propose, run, resume, verify."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backout.app import closing, lock
from backout.app.aftermath import executed_proposal, went_back, world_after
from backout.app.containment import holds, next_prefix
from backout.app.desk import Desk
from backout.app.results import Opened, Proposed, Ran, Verified
from backout.app.unforeseen import explained
from backout.errors import ApprovalVoid, BackoutError, Refused, Waiting
from backout.model.check import all_good
from backout.model.execution import Execution, Outcome, Verification, Watch
from backout.model.gate import Proposals
from backout.model.incident import Incident
from backout.model.journal import EntryKind
from backout.model.people import Approval
from backout.model.plan import Proposal, Rehearsal, Strategy
from backout.model.repair import RepairDone
from backout.model.restore import RestoreDone
from backout.model.triage import Triage
from backout.phases.execution.hold import behind_the_down
from backout.phases.snapshot.facts import Proven
from backout.phases.strategy import candidates
from backout.records import codec
from backout.render.screens.propose import next_command
from backout.runbooks.back_out import back_out
from backout.runbooks.watch import verify_again, watch

PRODUCTION_WATCH_SECONDS = 30 * 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What `open` was asked for."""

    target: str | None
    migrations: tuple[str, ...]
    last: int
    symptom: str
    alert: str = ""
    ticket: str = ""


def open_incident(desk: Desk, asked: Asked) -> Opened:
    """Begin an incident and its first round; triage only reads."""
    target = desk.app.target_name(asked.target)
    world = desk.app.world(target)
    with lock.worker(desk.app.state, "open", desk.actor):
        also_open = tuple(i for i in desk.open_here() if desk.incident(i).target == target)
        incident = desk.new_incident(
            *(target, world.environment, asked.symptom),
            migrations=asked.migrations,
            last=asked.last,
            alert=asked.alert,
            ticket=asked.ticket,
        )
        try:
            back_out(desk.story(incident.id), world, incident)
        except Waiting as waiting:
            return Opened(incident, desk.need(incident.id, "triage.find", Triage), waiting.next, also_open)
        except Exception as error:  # triage only read, whatever stopped it
            told = error if isinstance(error, BackoutError) else explained(error)
            desk.record(incident.id, EntryKind.DECISION, "close", {"reason": told.what})
            raise
    raise AssertionError("a story that was only opened cannot have ended")


def propose(desk: Desk, incident_id: str) -> Proposed:
    """Go on to the proposals; a new round when this one already has one."""
    incident = desk.incident(incident_id)
    with lock.worker(desk.app.state, "propose", desk.actor):
        _refuse_if_backed_out(desk, incident)
        _refuse_if_moved(desk, incident)
        if desk.result(incident.id, "strategy.propose", Proposals) is not None:
            desk.begin_round(incident.id, "propose was typed again")
        elif (found := desk.result(incident.id, "triage.find", Triage)) is not None and found.uncaptured:
            desk.begin_round(incident.id, "what the migration did was unknown; looked at again")
        desk.signal(incident.id, "propose", {})
        desk.app.people().digest()  # nobody enrolled is said before the rehearsals, not after them
        try:
            back_out(desk.story(incident.id), desk.app.world(incident.target), incident)
        except Waiting:
            return proposed(desk, incident)
    raise AssertionError("a story without the word to go cannot have ended")


def _refuse_if_moved(desk: Desk, incident: Incident) -> None:
    """A new round reads the old side, and knows nothing of what an earlier one holds."""
    if closing.left_behind(desk, incident.id) and closing.give_up(desk, incident):
        raise Refused(
            "traffic has moved to the new side already",
            where=incident.target,
            intact="everything; nothing was done",
            next=f"backout resume {incident.id}",
        )


def _refuse_if_backed_out(desk: Desk, incident: Incident) -> None:
    done = desk.result(incident.id, "execution.down", Execution)
    if done is not None and done.outcome is Outcome.BACKED_OUT:
        raise Refused(
            "this incident is already backed out",
            where=incident.target,
            intact="everything; nothing was done",
            next=f"backout verify {incident.id}",
        )


def proposed(desk: Desk, incident: Incident) -> Proposed:
    """The newest round's proposals with their evidence. A file that only git has is put back first."""
    proven = desk.newest(incident.id, ("snapshot.widened", "snapshot.proven"), Proven)
    assert proven is not None
    found = desk.need(incident.id, "triage.find", Triage)
    proposals = desk.need(incident.id, "strategy.propose", Proposals)
    first = candidates.put_back(found, str(desk.app.world(incident.target).project))
    rehearsals = [
        desk.newest(incident.id, (f"rehearsal.{s.value}.widened", f"rehearsal.{s.value}"), Rehearsal)
        for s in Strategy
    ]
    return Proposed(
        *(incident, found, proven.snapshot, proven.proof),
        tuple(r for r in rehearsals if r is not None),
        proposals,
        tuple((p.strategy.value, codec.digest(p)) for p in proposals.proposals),
        f"{first} && backout propose {incident.id}" if first else next_command(incident.id, proposals),
    )


def run(desk: Desk, incident_id: str, go: Mapping[str, str], watch_seconds: float | None) -> Ran:
    """Carry out what was approved; `watch_seconds` None = the default of the environment. Typed again after
    the end it does nothing, and watches no more."""
    incident = desk.incident(incident_id)
    return _ended(desk, incident) or _advance(desk, incident, go, watch_seconds)


def canary_for(desk: Desk, incident_id: str, seconds: float | None) -> None:
    """Note a person's word on the canary reads of this round; None = the plan's stands."""
    if seconds is not None:
        desk.signal(desk.incident(incident_id).id, "canary", {"seconds": seconds})


def _ended(desk: Desk, incident: Incident) -> Ran | None:
    """The answer of a back-out that came to its end; None while something is left to do, and be it the
    resolution that nobody was told."""
    done = desk.result(incident.id, "execution.down", Execution)
    checks = desk.result(incident.id, "verification.checks", Verification)
    told = any(e.key.endswith("communication.resolution") for e in desk.app.journal.read(incident.id))
    if done is None or checks is None or not told or done.outcome is not Outcome.BACKED_OUT:
        return None
    if executed_proposal(desk, incident.id, done).lists_after:
        following = _after(incident.id, done, checks)
    else:
        following = f"backout verify {incident.id} --watch 30m"
    return Ran(
        *(incident.id, done.outcome.value, done, checks, None, following),
        *_beside(desk, incident.id),
        again=True,
    )


def _beside(desk: Desk, incident_id: str) -> tuple[RepairDone | None, RestoreDone | None]:
    """What strategy D and strategy B did besides."""
    return (
        desk.result(incident_id, "lost_writes.repair", RepairDone),
        desk.result(incident_id, "restore.done", RestoreDone),
    )


def _advance(desk: Desk, incident: Incident, go: Mapping[str, str], watch_seconds: float | None) -> Ran:
    world = desk.app.world(incident.target)
    with lock.worker(desk.app.state, "run", desk.actor):
        proposals = desk.result(incident.id, "strategy.propose", Proposals)
        if proposals is None:
            raise Refused(
                "there is no proposal yet",
                where=incident.target,
                intact="everything",
                next=f"backout propose {incident.id}",
            )
        if not desk.signals(incident.id, "go"):
            desk.signal(incident.id, "go", go)
        held = tuple(job.name for job in holds(desk, incident.id))
        seconds = _watch_seconds(world.environment, watch_seconds)
        with behind_the_down(world, _chosen(desk, incident.id, proposals), incident.id):
            try:
                checks = back_out(desk.story(incident.id), world, incident, held)
            except ApprovalVoid as void:
                desk.begin_round(incident.id, void.what)
                raise
            done = desk.need(incident.id, "execution.down", Execution)
            watched = _watch(desk, incident, done, seconds)
    following = _after(incident.id, done, checks)
    beside = _beside(desk, incident.id)
    return Ran(incident.id, done.outcome.value, done, checks, watched, following, *beside)


def _chosen(desk: Desk, incident_id: str, proposals: Proposals) -> tuple[Proposal, ...]:
    """The proposals that may be carried out; none of them all when traffic is to move: nothing of ours may
    then stand in the old database."""
    given = (codec.load(Approval, entry.body) for entry in desk.signals(incident_id, "approval"))
    letters = {approval.strategy for approval in given}
    chosen = [p for p in proposals.proposals if not letters or p.strategy.value in letters]
    return tuple(p for p in chosen if p.restore is None)


def _watch_seconds(environment: str, asked: float | None) -> float:
    if asked is not None:
        return asked
    return PRODUCTION_WATCH_SECONDS if environment == "production" else 0.0


def resume(desk: Desk, incident_id: str, watch_seconds: float | None) -> Ran:
    """Go on after a stop; looks first and never repeats an effect."""
    incident = desk.incident(incident_id)
    if not desk.signals(incident.id, "go"):
        raise Refused(
            f"nothing was running in round {desk.round(incident.id)} of {incident.id}",
            where=incident.target,
            intact="everything",
            next=f"backout status {incident.id}",
        )
    if _watch_was_cut(desk, incident.id):
        return _advance(desk, incident, {}, watch_seconds)
    return run(desk, incident.id, {}, watch_seconds)


def _watch_was_cut(desk: Desk, incident_id: str) -> bool:
    """Whether the newest watch was begun and has not ended: its process is gone."""
    watches = [e for e in desk.app.journal.read(incident_id) if e.key.startswith("watch.")]
    return bool(watches) and watches[-1].kind is EntryKind.STARTED


def verify(desk: Desk, incident_id: str, watch_seconds: float) -> Verified:
    """Verify again after the run: a small story of its own."""
    incident = desk.incident(incident_id)
    done = desk.result(incident.id, "execution.down", Execution)
    if done is None or done.outcome is not Outcome.BACKED_OUT:
        raise Refused(
            "nothing was backed out yet",
            where=incident.target,
            intact="everything; nothing was done",
            next=f"backout status {incident.id}",
        )
    if went_back(desk, incident.id) is not None:
        raise Refused(
            "traffic went back to the old side: the migration is live again",
            where=incident.target,
            intact="everything; nothing was done",
            next=f"backout close {incident.id}",
        )
    with lock.worker(desk.app.state, "verify", desk.actor):
        story = desk.story(incident.id, next_prefix(desk, incident.id, "verify"))
        world = world_after(desk, incident, done)
        held = tuple(job.name for job in holds(desk, incident.id))
        checks = verify_again(story, world, executed_proposal(desk, incident.id, done), done, held)
        watched = _watch(desk, incident, done, watch_seconds)
    return Verified(incident.id, checks, watched, _after(incident.id, done, checks))


def _watch(desk: Desk, incident: Incident, done: Execution, seconds: float) -> Watch | None:
    proposal = executed_proposal(desk, incident.id, done)
    if seconds <= 0 or proposal.lists_after:
        return None
    story = desk.story(incident.id, next_prefix(desk, incident.id, "watch"))
    world = world_after(desk, incident, done)
    return watch(story, world, proposal, seconds)


def _after(incident_id: str, done: Execution, checks: Verification) -> str:
    if not all_good(checks.checks):
        return f"backout verify {incident_id} --wait 6m"
    return f"backout kept list {incident_id}" if done.values_kept else f"backout postmortem {incident_id}"
