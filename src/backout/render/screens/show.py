"""The screen of `show`: the runbook's condensed checklist, live."""

from __future__ import annotations

from datetime import datetime

from backout.model.check import all_good
from backout.model.execution import Outcome
from backout.render import words
from backout.render.known import Known
from backout.render.layout import Place, State, Step, Style, hanging, page, passed, steps


def screen(known: Known, *, style: Style, now: datetime, next: str = "") -> str:
    """Every line of the condensed checklist with its evidence, then who acts and what is next."""
    incident = known.incident
    identity = known.triage.identity if known.triage else None
    place = Place(
        incident.target,
        incident.environment,
        identity.target if identity else None,
        None if identity is None else not identity.in_recovery,
    )
    lines = hanging("", str(place), style)
    lines += hanging("", f"{incident.id}  {incident.channel}", style)
    rows = checklist(known, now)
    lines += steps(rows, style)
    done = sum(row.state in (State.PASS, State.WARN) for row in rows)
    lines.append(f"{done} of {len(rows)} lines of the checklist are done")
    return page(lines, next or f"backout status {incident.id}", style)


def checklist(known: Known, now: datetime) -> list[Step]:
    """The seven lines of the runbook's condensed rollback checklist."""
    return [
        _snapshot(known, now),
        _channel(known),
        _strategy(known),
        _rehearsed(known),
        _executed(known, now),
        _verified(known),
        _told(known),
    ]


def _snapshot(known: Known, now: datetime) -> Step:
    snapshot, proof = known.snapshot, known.proof
    if snapshot is None:
        return Step(State.TO_COME, "snapshot", "none was taken")
    if proof is None or not proof.holds:
        return Step(State.WARN, "snapshot", f"{snapshot.id} taken, not proven")
    at = words.when(proof.proven_at, now)
    return Step(State.PASS, "snapshot", f"{snapshot.id}, {snapshot.scope.value}, proven {at}")


def _channel(known: Known) -> Step:
    people = ", ".join(f"{a.person} ({a.role.value})" for a in known.approvals)
    if known.missing:
        waits = f"open; waits for {' and '.join(known.missing)}" + (f"; approved: {people}" if people else "")
        return Step(State.PERSON, "approvers", waits)
    if not people:
        return Step(State.TO_COME, "approvers", "channel open; nobody was asked yet")
    return Step(State.PASS, "approvers", f"channel open; approved: {people}")


def _strategy(known: Known) -> Step:
    if known.approvals:
        return Step(State.PASS, "strategy", f"{known.approvals[-1].strategy}, approved by name")
    if known.proposals is None:
        return Step(State.TO_COME, "strategy", "not yet proposed")
    letter = known.proposals.recommended
    return Step(
        State.PERSON, "strategy", f"{letter} recommended" if letter else "none recommended; choose one"
    )


def _rehearsed(known: Known) -> Step:
    if not known.rehearsals:
        return Step(State.TO_COME, "rehearsal", "the down was not tried on a copy yet")
    rehearsal = known.rehearsals[-1]
    if not rehearsal.succeeded:
        return Step(State.FAIL, "rehearsal", rehearsal.failure)
    return Step(
        State.PASS,
        "rehearsal",
        f"{rehearsal.strategy.value} on {rehearsal.copy}, kept {words.count(rehearsal.kept_values)} values",
        took=rehearsal.seconds,
    )


def _executed(known: Known, now: datetime) -> Step:
    done = known.execution
    if done is None:
        return Step(State.TO_COME, "execution", "nothing has been changed")
    state = {Outcome.BACKED_OUT: State.PASS, Outcome.UNTOUCHED: State.FAIL, Outcome.IN_DOUBT: State.UNKNOWN}
    lost = done.values_destroyed - done.values_kept
    text = f"{done.ended} {words.when(done.committed_at, now)}, lost {lost:,} values"
    if known.repaired is not None:
        text += f"; brought back {known.repaired.values_back:,}"
    if known.went_back is not None:
        text += f"; traffic went back to {known.went_back.moved.new}, the migration is live"
    elif known.anew is not None:
        text += f"; traffic is on {known.anew.serving.address}"
    return Step(state[done.outcome], "execution", text, took=done.seconds)


def _verified(known: Known) -> Step:
    checks = known.verification
    if checks is None:
        return Step(State.TO_COME, "verification", "not yet")
    state = State.PASS if all_good(checks.checks) else State.FAIL
    return Step(state, "verification", passed(checks.checks), took=checks.seconds)


def _told(known: Known) -> Step:
    if not known.notices:
        return Step(State.TO_COME, "told", "no notice was sent")
    closed = "resolution sent" if known.resolved else "resolution to come"
    return Step(
        State.PASS if known.resolved else State.RUNNING,
        "told",
        f"{words.plural(known.notices, 'notice')}; {closed}",
    )
