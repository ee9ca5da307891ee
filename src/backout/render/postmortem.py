"""The postmortem of an incident: sections built from its journal and records, written as Markdown or HTML.

Blameless and computed: figures come from records or are called unknown; causes and surprises are asked of
people, never invented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backout.model.execution import Outcome
from backout.model.journal import Entry, EntryKind
from backout.model.loss import DestroyedBy
from backout.model.plan import Verdict
from backout.model.restore import CanaryReads
from backout.render import actions, html, integrity, losses, markdown, timeline, words
from backout.render.document import (
    Bullets,
    Document,
    Figure,
    Figures,
    Item,
    Paragraph,
    Section,
    Table,
)
from backout.render.known import Known
from backout.render.layout import State, state_of
from backout.render.times import Times, spans, times_of

_NOT_CHOOSABLE = (Verdict.REFUSED, Verdict.NOT_EXECUTABLE)
QUESTIONS = (
    "What surprised you, and why?",
    "How could the time to detect have been cut by half?",
    "Where did we get lucky?",
    "What went well, and what should the next person do differently?",
)


@dataclass(frozen=True, slots=True)
class Postmortem:
    """A postmortem, section by section; `head` is the hash of the journal it was written from, `entries` the
    number of its entries, `lost` the values that were destroyed and not kept (None: nothing was executed)."""

    incident: str
    head: str
    entries: int
    lost: int | None
    locked_seconds: float | None
    times: Times
    actions: tuple[actions.Action, ...]
    document: Document


def postmortem(known: Known, entries: Sequence[Entry], *, detected_at: str = "") -> Postmortem:
    """The postmortem of `known.incident` from its whole journal, oldest entry first.

    What a record would tell and is not given is called unknown. `detected_at` (RFC 3339) is when the alert
    fired; the journal begins only at `open`.
    """
    times = times_of(known, entries, detected_at)
    proposed = actions.propose(known)
    sections = (
        _summary(known),
        _impact(known),
        _times(times),
        _predicted(known),
        _timeline(entries),
        _decisions(known, entries),
        _checks(known),
        _kept(known),
        _actions(proposed),
        _questions(),
        integrity.section(known, entries),
    )
    document = Document(_title(known), _about(known), sections)
    done = known.execution
    return Postmortem(
        incident=known.incident.id,
        head=entries[-1].hash if entries else "",
        entries=len(entries),
        lost=done.values_destroyed - done.values_kept if done else None,
        locked_seconds=done.locked_seconds if done else None,
        times=times,
        actions=proposed,
        document=document,
    )


def to_markdown(written: Postmortem) -> str:
    """The postmortem as Markdown."""
    return markdown.to_markdown(written.document)


def to_html(written: Postmortem) -> str:
    """The postmortem as one self-contained page."""
    return html.to_html(written.document)


def _title(known: Known) -> str:
    return f"Postmortem {known.incident.id}: {known.incident.symptom or 'a migration was backed out'}"


def _about(known: Known) -> str:
    incident = known.incident
    ticket = f", ticket {incident.ticket}" if incident.ticket else ""
    return (
        f"{incident.target} {incident.environment.upper()}, opened {words.when(incident.opened_at)} "
        f"by {incident.opened_by}, {incident.channel}{ticket}"
    )


def _summary(known: Known) -> Section:
    done = known.execution
    blocks: list[Paragraph | Figures] = []
    if done is not None:
        lost = done.values_destroyed - done.values_kept
        blocks.append(
            Figures(
                (
                    Figure(words.count(done.values_destroyed), "values destroyed by the down"),
                    Figure(words.count(done.values_kept), "of them kept"),
                    Figure(words.count(lost), "lost", State.FAIL if lost else State.PASS),
                    Figure(words.duration(done.locked_seconds), "tables locked"),
                )
            )
        )
    told = (_trigger(known), _outcome(known), _repaired(known), _moved(known), _went_back(known))
    blocks += [Paragraph(sentence) for sentence in told if sentence]
    return Section("Summary", tuple(blocks))


def _trigger(known: Known) -> str:
    found = known.triage
    if found is None or not found.offending:
        return "The offending migration is not known."
    by = f" by {found.applied_by}" if found.applied_by else ""
    author = next((f.author for f in found.files if f.name == found.offending[-1] and f.author), "")
    written = f", written by {author}" if author else ""
    at = words.when(found.committed.at)
    return f"Trigger: migration {found.offending[-1]}{written}, applied{by} at {at}."


def _outcome(known: Known) -> str:
    done = known.execution
    if done is None:
        return "Nothing was executed."
    return {
        Outcome.BACKED_OUT: f"It was {done.ended} at {words.when(done.committed_at)} with {done.tool}, "
        f"strategy {done.strategy}.",
        Outcome.UNTOUCHED: "It was not backed out: history and schema are as they were.",
        Outcome.IN_DOUBT: "Whether it was backed out is in doubt: history and schema do not agree.",
    }[done.outcome]


def _moved(known: Known) -> str:
    done = known.anew
    if done is None:
        return ""
    fates = done.carried.fates
    tried = f"{canary_reads(done.canary_reads)} " if done.canary_reads else ""
    return (
        f"The state before the migration was restored as a new instance. {tried}Traffic was moved to "
        f"{done.serving.address}; writes were held for {done.moved.hold_ms:.0f} ms. Of "
        f"{words.plural(fates.total, 'write')} made since the migration {fates.carried:,} were carried over, "
        f"{fates.archived:,} kept, {fates.parked:,} parked and {fates.listed:,} listed."
    )


def canary_reads(tried: CanaryReads) -> str:
    """What readers have tried before, as one sentence."""
    return (
        f"Readers tried it for {words.duration(tried.seconds)} ({tried.sessions} at most), while it was "
        f"{words.size(tried.lag_bytes)} behind at most."
    )


def _went_back(known: Known) -> str:
    went = known.went_back
    if went is None:
        return ""
    fates = went.fates
    return (
        f"Then traffic went back to {went.moved.new}, where the migration is live; writes were held for "
        f"{went.moved.hold_ms:.0f} ms. Of {words.plural(fates.total, 'write')} made on the new side "
        f"{fates.carried:,} were carried over, {fates.archived:,} kept, {fates.parked:,} parked and "
        f"{fates.listed:,} listed."
    )


def _repaired(known: Known) -> str:
    done = known.repaired
    if done is None:
        return ""
    fates = done.fates
    stale = f" They are {done.label}." if done.label else ""
    return (
        f"Then {words.plural(done.values_back, 'value')} that the migration had destroyed were written back "
        f"in {words.plural(len(done.tables), 'table')}; {words.plural(fates.parked, 'row')} parked, "
        f"{fates.listed:,} listed.{stale}"
    )


def _impact(known: Known) -> Section:
    rows: list[tuple[str, str, str]] = []
    if known.triage is not None:
        tables = known.triage.touched
        since = words.total(table.written_since for table in tables)
        rows += [
            ("Tables touched", words.count(len(tables)), "at triage"),
            ("Rows in them", words.count(sum(table.rows for table in tables)), "at triage"),
            ("Rows written before the incident was opened", words.count(since.count), words.basis(since)),
        ]
        rows += [
            (f"Calls of: {' '.join(affected.query.split())[:120]}", words.count(affected.calls), "counted")
            for affected in known.triage.affected
        ]
    for loss in known.rehearsal.losses if known.rehearsal else ():
        told = f"Destroyed by the {loss.by.value}: {losses.name(loss)} ({loss.kind.value})"
        rows.append((told, words.count(loss.values.count), f"{words.basis(loss.values)}, rehearsed"))
    if known.execution is not None:
        rows.append(("Waited for locks", words.duration(known.execution.waited_seconds), "measured"))
    if not rows:
        return Section("Impact", (Paragraph("Unknown: no triage and no rehearsal are recorded."),))
    return Section("Impact", (Table(("What", "Figure", "Basis"), tuple(rows), right=(1,)),))


def _times(times: Times) -> Section:
    moments = tuple((row.what, words.when(row.at or None), row.note) for row in times.rows)
    measured = tuple(
        (name, words.duration(value) if value is not None else "unknown") for name, value in spans(times)
    )
    return Section(
        "Times",
        (
            Table(("Span", "Time"), measured, right=(1,)),
            Table(("Moment", "UTC", "How it is known"), moments),
        ),
    )


def _predicted(known: Known) -> Section:
    done, rehearsal = known.execution, known.rehearsal
    if done is None or rehearsal is None:
        return Section("Predicted and actual", (Paragraph("Not both a rehearsal and an execution."),))
    destroyed = losses.values(losses.of(rehearsal.losses, DestroyedBy.DOWN))
    rows = (
        ("Values destroyed", words.figure(destroyed), words.count(done.values_destroyed)),
        ("Values kept", words.count(rehearsal.kept_values), words.count(done.values_kept)),
        ("Down", words.duration(rehearsal.seconds), words.duration(done.seconds)),
        ("Tables locked", words.duration(rehearsal.locked_seconds), words.duration(done.locked_seconds)),
        ("Transactions", words.count(rehearsal.transactions), words.count(done.transactions)),
        ("Statements", words.count(len(rehearsal.statements)), words.count(len(done.statements))),
    )
    why = "Writes go on between rehearsal and execution; the values written in between are kept too."
    grew = destroyed.count is not None and done.values_destroyed > destroyed.count
    table = Table(("What", "Rehearsed", "Executed"), rows, right=(1, 2))
    return Section("Predicted and actual", (table, Paragraph(why)) if grew else (table,))


def _timeline(entries: Sequence[Entry]) -> Section:
    told = timeline.moments(entries)
    rows = tuple((words.when(m.at), m.what, m.who, f"{m.seq}", m.hash) for m in told)
    about = (
        f"{len(told):,} of {len(entries):,} journal entries; each row names its entry and the entry's hash."
    )
    table = Table(("UTC", "What", "Who", "Entry", "Hash"), rows, right=(3,), code=(4,))
    return Section("Timeline", (Paragraph(about), table))


def _decisions(known: Known, entries: Sequence[Entry]) -> Section:
    blocks: list[Table | Bullets | Paragraph] = []
    if known.proposals is not None:
        rows = tuple(
            (
                f"{o.strategy.value} {o.strategy.words}",
                o.verdict.value,
                "-" if o.verdict in _NOT_CHOOSABLE else words.count(o.lost),
                o.missing or o.reason,
            )
            for o in known.proposals.options
        )
        blocks.append(Table(("Alternative shown", "Verdict", "Lost", "Why"), rows, right=(2,)))
    approved = tuple(
        (a.person, a.role.value, a.strategy, ", ".join(a.accepts) or "-", words.short_digest(a.digest))
        for a in known.approvals
    )
    if approved:
        blocks.append(Table(("Approved by", "As", "Strategy", "Named", "Digest"), approved, code=(4,)))
    taken = [e for e in entries if e.kind in (EntryKind.SIGNAL, EntryKind.DECISION)]
    if taken:
        items = tuple(Item(timeline.what(e), f"{e.actor}, {words.when(e.at)}, entry {e.seq}") for e in taken)
        blocks.append(Bullets(items))
    return Section("Decisions", tuple(blocks) or (Paragraph("None is recorded."),))


def _checks(known: Known) -> Section:
    if known.verification is None:
        return Section("Checks", (Paragraph("Nothing was verified."),))
    items = tuple(
        Item(f"{check.name}: {check.detail}", check.mend, state_of(check))
        for check in known.verification.checks
    )
    watched = _watched(known)
    return Section("Checks", (Bullets(items), *((Paragraph(watched),) if watched else ())))


def _watched(known: Known) -> str:
    watch = known.watch
    if watch is None:
        return "Nobody watched whether the migration comes back."
    if watch.came_back is not None:
        return f"The migration came back at {words.when(watch.came_back.at)}."
    stopped = ", stopped early" if watch.stopped_early else ""
    return f"Watched for {words.duration(watch.seconds)}{stopped}: the migration did not come back."


def _kept(known: Known) -> Section:
    columns = known.execution.kept if known.execution else ()
    if not columns:
        return Section("What is still kept", (Paragraph("No value is kept."),))
    rows = tuple(
        (
            f"{words.plain_table(k.object)}.{k.column or '*'}",
            words.count(k.values),
            ", ".join(k.key) or "none",
            k.kept_in,
        )
        for k in columns
    )
    about = f"As of the end of the run; today's figures: backout kept list {known.incident.id}"
    table = Table(("Column", "Values", "Key", "Kept in"), rows, right=(1,), code=(3,))
    until = f"Wanted until {words.when(known.kept_until)}; nothing drops them by itself, before or after."
    return Section(
        "What is still kept", (table, Paragraph(f"{about}. {until}" if known.kept_until else about))
    )


def _actions(proposed: Sequence[actions.Action]) -> Section:
    about = "Proposed, for people to take, change or refuse. Marked are those that the evidence asks for."
    items = tuple(
        Item(
            f"{action.kind}: {action.text}",
            f"evidence: {action.evidence}" if action.evidence else "typical; nothing here asks for it",
            State.WARN if action.evidence else None,
            "marked" if action.evidence else "",
        )
        for action in proposed
    )
    return Section("Corrective actions", (Paragraph(about), Bullets(items)))


def _questions() -> Section:
    items = tuple(Item(question, "", State.PERSON) for question in QUESTIONS)
    return Section("For people to answer", (Bullets(items),))
