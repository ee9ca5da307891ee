"""The runbook's three kinds of notice, filled in: initial, progress, resolution.

Every notice says who acts, what is safe, what is next and when the next update comes. What is not known is
called unknown; an ETA comes only from a measured time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from backout.model.check import Check, CheckState, all_good
from backout.model.cutover import CutoverProof, Moved
from backout.model.execution import Execution, Outcome, Verification, Watch
from backout.model.fates import Fates
from backout.model.incident import Incident
from backout.model.loss import DestroyedBy
from backout.model.plan import Proposal, Rehearsal, Strategy
from backout.model.repair import RepairDone
from backout.model.restore import RestoreDone
from backout.model.snapshot import Snapshot
from backout.model.triage import Triage
from backout.render import losses, words

UPDATE_MINUTES = 20
"""Status updates come every 15 to 30 minutes (runbook); 20 is PagerDuty's rule for the first two hours."""
UNCHANGED = "nothing has been changed; backout has only read"


def initial(
    incident: Incident,
    found: Triage,
    *,
    snapshot: Snapshot | None = None,
    eta_seconds: float | None = None,
    acts: str = "",
    next_update: datetime | None = None,
    policy_note: str = "",
) -> str:
    """The first notice. `eta_seconds` must be measured; None = unknown. `policy_note` is said in every
    notice where one person may approve alone."""
    name = found.offending[-1] if found.offending else "not yet told"
    saved = (
        f"Snapshot saved: `{snapshot.id}`."
        if snapshot
        else "Snapshot: being taken, its ID follows by itself."
    )
    return _notice(
        f"Rollback of migration `{name}` initiated. {saved} {_eta(eta_seconds)}",
        f"Target: {_place(incident)}, {found.identity.target}",
        f"Symptom: {incident.symptom}" if incident.symptom else "",
        _above(found),
        _who(incident, acts, UNCHANGED),
        policy_note,
        _update(next_update),
    )


def snapshot_saved(
    incident: Incident,
    snapshot: Snapshot,
    *,
    eta_seconds: float | None = None,
    acts: str = "",
    next_update: datetime | None = None,
) -> str:
    """The snapshot's ID, as soon as there is one; taken is not yet proven."""
    return _notice(
        f"Snapshot saved: `{snapshot.id}` ({snapshot.scope.value}, {words.size(snapshot.size_bytes)}, "
        f"LSN {snapshot.lsn}). {_eta(eta_seconds)}",
        f"Target: {_place(incident)}",
        _who(incident, acts, UNCHANGED),
        _update(next_update),
    )


def proposed(
    incident: Incident,
    rehearsals: Sequence[Rehearsal],
    *,
    acts: str = "",
    next_update: datetime | None = None,
) -> str:
    """What was rehearsed, what it would destroy, and that it waits for people."""
    lines = [_rehearsed(rehearsal) for rehearsal in rehearsals] or ["No way back could be rehearsed."]
    return _notice(
        f"Rollback rehearsed on a restored copy of {incident.target}; it waits for approvals.",
        *lines,
        _who(incident, acts, UNCHANGED),
        f"Next: backout approve {incident.id}",
        _update(next_update),
    )


def _rehearsed(rehearsal: Rehearsal) -> str:
    label = f"{rehearsal.strategy.value} ({rehearsal.strategy.words})"
    if not rehearsal.succeeded:
        return f"{label}: the rehearsal failed: {rehearsal.failure}"
    down = words.figure(losses.values(losses.of(rehearsal.losses, DestroyedBy.DOWN)))
    lost = [loss for loss in losses.of(rehearsal.losses, DestroyedBy.UP) if not loss.brought_back]
    up = words.figure(losses.values(lost))
    back = f"; brought back: {rehearsal.repair.values_back:,} values" if rehearsal.repair else ""
    return (
        f"{label}: destroys {down} values, of which backout keeps {rehearsal.kept_values:,}; "
        f"values destroyed by the up and not given back: {up}{back}; "
        f"took {words.duration(rehearsal.seconds)}, locked {words.duration(rehearsal.locked_seconds)}."
    )


def progress(
    incident: Incident,
    text: str,
    *,
    safe: str,
    acts: str = "",
    next: str = "",
    eta_seconds: float | None = None,
    next_update: datetime | None = None,
    policy_note: str = "",
) -> str:
    """A status update: what happens now (`text`), who acts, what is safe, what is next, when more comes."""
    return _notice(
        f"Update on {incident.id}, {_place(incident)}: {text}",
        _who(incident, acts, safe),
        f"Next: {next}" if next else "",
        _eta(eta_seconds),
        policy_note,
        _update(next_update),
    )


def resolution(
    incident: Incident,
    done: Execution,
    checks: Verification,
    *,
    watch: Watch | None = None,
    artifacts: str = "",
    policy_note: str = "",
    repaired: RepairDone | None = None,
    anew: RestoreDone | None = None,
) -> str:
    """The last notice. It states the data loss exactly, and every check that failed, is unknown or was
    skipped; `artifacts` names where postmortem and records are."""
    return _notice(
        f"{_ended(done)} {_validation(done, checks)}",
        f"Target: {_place(incident)}",
        data_loss(done) if anew is None else "",
        _repaired(repaired) if repaired else "",
        *(_anew(anew) if anew else ()),
        *_not_passed(checks.checks),
        "" if done.strategy == Strategy.F_FINISH.value else _watched(watch),
        policy_note,
        f"Incident ticket: {incident.ticket or 'none was named'}. "
        f"Artifacts: {artifacts or f'backout postmortem {incident.id}'}.",
    )


def _ended(done: Execution) -> str:
    what = {
        Strategy.F_CLEAN.value: "Clean-up of the half-applied migration",
        Strategy.F_FINISH.value: "Work to finish the half-applied migration",
    }.get(done.strategy, "Rollback")
    return {
        Outcome.BACKED_OUT: f"{what} complete.",
        Outcome.UNTOUCHED: f"{what} did NOT happen; the database is as it was.",
        Outcome.IN_DOUBT: f"{what} is IN DOUBT; people must look.",
    }[done.outcome]


_PASSED = "Validation passed."
"""The runbook's own words: only when everything that it asks for was asked."""


def _validation(done: Execution, checks: Verification) -> str:
    if done.outcome is not Outcome.BACKED_OUT:
        return "There is nothing to validate yet."
    if all_good(checks.checks):
        skipped = sum(check.state is CheckState.SKIPPED for check in checks.checks)
        return f"Validation passed, {words.plural(skipped, 'check')} skipped." if skipped else _PASSED
    failed = sum(check.state is CheckState.FAIL for check in checks.checks)
    unknown = sum(check.state is CheckState.UNKNOWN for check in checks.checks)
    return f"Validation NOT passed: {failed} failed, {unknown} unknown of {len(checks.checks)} checks."


def data_loss(done: Execution) -> str:
    """Destroyed, kept and lost, and where the kept values are."""
    lost = done.values_destroyed - done.values_kept
    told = (
        f"Data: {words.plural(done.values_destroyed, 'value')} destroyed by the down, "
        f"{done.values_kept:,} kept, {lost:,} lost."
    )
    tables = sorted({kept.kept_in for kept in done.kept})
    return f"{told} Kept in {', '.join(tables)}." if tables else told


def _repaired(done: RepairDone) -> str:
    fates = done.fates
    stale = f" They are {done.label}." if done.label else ""
    return (
        f"Repaired in place: {words.plural(done.values_back, 'value')} that the migration had destroyed are "
        f"back; {words.plural(fates.parked, 'row')} parked for a person, {fates.listed:,} listed.{stale}"
    )


def _anew(done: RestoreDone) -> tuple[str, ...]:
    """Where the application is now, what became of its writes, and what the new server is without."""
    fates = done.carried.fates
    back = f" The way back stays armed until {done.moved.way_back_until}." if done.moved.way_back else ""
    return (
        f"Data: what the migration had destroyed is there again; of {words.plural(fates.total, 'write')} "
        f"made since, {words.fates(fates)}, 0 lost.",
        f"Traffic moved to {done.serving.address}, held for {done.moved.hold_ms:.0f} ms.{back}",
        *(f"The new server: {note}." for note in done.serving.notes),
        f"After a reboot of its machine start it by hand: {done.serving.by_hand}",
    )


def went_back(incident: Incident, proposal: Proposal, fates: Fates, moved: Moved, proof: CutoverProof) -> str:
    """After a restore traffic is on the old side again: what that means, and what became of the writes."""
    names = ", ".join(f"`{migration.name}`" for migration in proposal.migrations)
    complete = "complete" if proof.complete else "NOT complete"
    return _notice(
        f"Traffic went back to the old side of {incident.target}: {names} is live again. "
        f"The move is {complete}.",
        f"Target: {_place(incident)}",
        f"Data: of {words.plural(fates.total, 'write')} made on the restored instance, {words.fates(fates)}, "
        f"0 lost. Writes were held for {moved.hold_ms:.0f} ms.",
        *_not_passed(proof.checks),
        _who(incident, "", "the restored instance is kept until the incident is closed"),
    )


def _not_passed(checks: Sequence[Check]) -> list[str]:
    lines = []
    for state in (CheckState.FAIL, CheckState.UNKNOWN, CheckState.WARN, CheckState.SKIPPED):
        found = [f"{check.name} ({check.detail})" for check in checks if check.state is state]
        lines += [f"Checks {state.value}: {'; '.join(found)}"] if found else []
    return lines


def _watched(watch: Watch | None) -> str:
    if watch is None:
        return "Nobody holds the migration: whether it comes back is not watched."
    if watch.came_back:
        return f"ALARM: the migration came back {watch.came_back.came_back_by or 'by an unknown session'}."
    ended = "stopped early after" if watch.stopped_early else "for"
    return f"Watched {ended} {words.duration(watch.seconds)}, {watch.samples:,} looks: it did not come back."


def _place(incident: Incident) -> str:
    return f"{incident.target} {incident.environment.upper()}"


def _above(found: Triage) -> str:
    if not found.collateral:
        return ""
    return f"Migrations that would be undone with it: {', '.join(found.collateral)}"


def _who(incident: Incident, acts: str, safe: str) -> str:
    return f"Acts: {acts or incident.opened_by}. Safe: {safe}."


def _eta(seconds: float | None) -> str:
    if seconds is None:
        return "ETA unknown."
    minutes = max(1, math.ceil(seconds / 60))
    return f"ETA: ~{minutes} {'minute' if minutes == 1 else 'minutes'}."


def _update(next_update: datetime | None) -> str:
    if next_update is None:
        return f"Next update within {UPDATE_MINUTES} minutes."
    return f"Next update due {words.clock(next_update)}."


def _notice(*lines: str) -> str:
    return "\n".join(words.clean(line) for line in lines if line)
