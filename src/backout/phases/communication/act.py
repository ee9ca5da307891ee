"""Draft and send the runbook's three kinds of notice; a silent channel never blocks a step."""

from __future__ import annotations

from backout.model.cutover import CutoverProof, Moved
from backout.model.execution import Execution, Verification
from backout.model.fates import Fates
from backout.model.incident import Incident
from backout.model.plan import Proposal, Rehearsal
from backout.model.repair import RepairDone
from backout.model.restore import RestoreDone
from backout.model.snapshot import Snapshot
from backout.model.triage import Triage
from backout.ports.run import Run
from backout.render import notices


def initial(run: Run, incident: Incident, found: Triage) -> None:
    """The initial notice; the snapshot's ID follows by itself in the next one."""
    run.notice("communication.initial", notices.initial(incident, found), "stakeholders")


def snapshot_taken(run: Run, incident: Incident, snapshot: Snapshot) -> None:
    """The snapshot's ID, as soon as there is one."""
    run.notice("communication.snapshot", notices.snapshot_saved(incident, snapshot), "stakeholders")


def proposed(run: Run, incident: Incident, rehearsals: tuple[Rehearsal, ...]) -> None:
    """What was rehearsed, and for whom it waits."""
    run.notice("communication.proposed", notices.proposed(incident, rehearsals), "responders")


def resolution(
    run: Run,
    incident: Incident,
    done: Execution,
    checks: Verification,
    repaired: RepairDone | None,
    anew: RestoreDone | None = None,
) -> None:
    """The resolution; it states the data loss, what came back and every check that is not known."""
    text = notices.resolution(incident, done, checks, repaired=repaired, anew=anew)
    run.notice("communication.resolution", text, "stakeholders")


def went_back(
    run: Run, incident: Incident, proposal: Proposal, fates: Fates, moved: Moved, proof: CutoverProof
) -> None:
    """After a restore traffic is on the old side again, and the migration is live."""
    text = notices.went_back(incident, proposal, fates, moved, proof)
    run.notice("communication.went_back", text, "stakeholders")
