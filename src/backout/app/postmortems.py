"""Everything that is known of an incident, for the pages about all of it: show and postmortem."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backout.app import keeping
from backout.app.aftermath import went_back
from backout.app.containment import unreleased
from backout.app.desk import Desk
from backout.app.signing import given
from backout.errors import BackoutError
from backout.model.execution import Execution, Verification, Watch
from backout.model.gate import Proposals
from backout.model.journal import Entry, EntryKind
from backout.model.people import Approval
from backout.model.plan import Rehearsal, Strategy
from backout.model.repair import RepairDone
from backout.model.restore import RestoreDone
from backout.model.snapshot import Snapshot
from backout.model.triage import Triage
from backout.phases.gate.approvals import missing_slots
from backout.phases.snapshot.facts import Proven
from backout.records import codec
from backout.render.known import Known
from backout.render.postmortem import Postmortem, postmortem, to_html, to_markdown


def known(desk: Desk, incident_id: str) -> Known:
    """The records of the newest round, read from the journal alone."""
    incident = desk.incident(incident_id)
    entries = desk.app.journal.read(incident.id)
    run = desk.story(incident.id)
    proven = desk.newest(incident.id, ("snapshot.widened", "snapshot.proven"), Proven)
    rehearsals = [
        desk.newest(incident.id, (f"rehearsal.{s.value}.widened", f"rehearsal.{s.value}"), Rehearsal)
        for s in Strategy
    ]
    proposals = run.result("strategy.propose", Proposals)
    approvals = given(desk, incident.id)
    return Known(
        incident=incident,
        triage=run.result("triage.find", Triage) or run.earlier("triage.find", Triage),
        snapshot=proven.snapshot if proven else None,
        proof=proven.proof if proven else None,
        rehearsals=tuple(r for r in rehearsals if r is not None),
        proposals=proposals,
        digests=tuple((p.strategy.value, codec.digest(p)) for p in proposals.proposals) if proposals else (),
        approvals=approvals,
        missing=_missing(desk, incident.target, proposals, approvals),
        fresh=_newest_fresh(entries, run.round),
        execution=run.result("execution.down", Execution),
        repaired=run.result("lost_writes.repair", RepairDone),
        anew=run.result("restore.done", RestoreDone),
        went_back=went_back(desk, incident.id),
        verification=_newest_verification(entries) or run.result("verification.checks", Verification),
        watch=_newest_watch(entries),
        kept_until=kept_age.wanted_until if (kept_age := keeping.age(desk, incident.id)) else "",
        contained=tuple(job.name for job in unreleased(desk, incident.id)),
        notices=sum(e.kind is EntryKind.NOTICE for e in entries),
        resolved=any(e.key.endswith("communication.resolution") for e in entries),
    )


def _missing(
    desk: Desk, target: str, proposals: Proposals | None, approvals: tuple[Approval, ...]
) -> tuple[str, ...]:
    if proposals is None or not proposals.proposals:
        return ()
    try:
        policy = desk.app.world(target).policy
    except BackoutError:
        return ()
    return missing_slots(policy, approvals, proposals.proposals[0].requested_by)


def _newest_fresh(entries: tuple[Entry, ...], round_: int) -> Snapshot | None:
    prefix = f"r{round_}.snapshot.fresh."
    found = [e for e in entries if e.kind is EntryKind.FINISHED and e.key.startswith(prefix)]
    return codec.load(Snapshot, found[-1].body) if found else None


def _newest_verification(entries: tuple[Entry, ...]) -> Verification | None:
    found = [e for e in entries if e.kind is EntryKind.FINISHED and e.key.startswith("verify.")]
    return codec.load(Verification, found[-1].body) if found else None


def _newest_watch(entries: tuple[Entry, ...]) -> Watch | None:
    found = [e for e in entries if e.kind is EntryKind.FINISHED and e.body.get("type") == "Watch"]
    return codec.load(Watch, found[-1].body) if found else None


@dataclass(frozen=True, slots=True)
class PostmortemWritten:
    """The document and where it lies."""

    document: Postmortem
    paths: tuple[str, ...]


def write_postmortem(desk: Desk, incident_id: str, directory: Path) -> PostmortemWritten:
    """Render Markdown and one self-contained HTML page from the journal, whose chain is checked first."""
    facts = known(desk, incident_id)
    desk.app.journal.verify(facts.incident.id)
    entries = desk.app.journal.read(facts.incident.id)
    document = postmortem(facts, entries)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, text in ((".md", to_markdown(document)), (".html", to_html(document))):
        path = directory / f"{facts.incident.id}{suffix}"
        path.write_text(text, "utf-8")
        paths.append(str(path))
    return PostmortemWritten(document, tuple(paths))
