"""The screen of `open`: what was applied, what it touched, what stands in the way."""

from __future__ import annotations

from datetime import datetime, timedelta

from backout.model.incident import Incident
from backout.model.migration import MigrationFile
from backout.model.statement import Statement
from backout.model.triage import Applied, Candidate, Committed, InvalidIndex, Triage
from backout.render import words
from backout.render.layout import Place, State, Style, facts, hanging, page

NOTICE_WITHIN = timedelta(minutes=5)
"""The initial notice goes out within five minutes of the call (PagerDuty's rule for the first message)."""
_BLOCKS_LONGER_THAN = 1.0
_STATES = {
    Applied.APPLIED: State.PASS,
    Applied.PARTLY: State.WARN,
    Applied.DIRTY: State.FAIL,
    Applied.IN_PROGRESS: State.RUNNING,
    Applied.PENDING: State.TO_COME,
}


def screen(
    incident: Incident,
    triage: Triage,
    *,
    style: Style,
    now: datetime,
    next: str = "",
    also_open: tuple[str, ...] = (),
) -> str:
    """What `open` found, for somebody who must decide within ten minutes. `now` dates the spans;
    `also_open` are the incidents of the same target that somebody had opened before."""
    place = Place(
        incident.target, incident.environment, triage.identity.target, not triage.identity.in_recovery
    )
    lines = hanging("", str(place), style)
    lines += hanging(
        "", f"{incident.id}  opened {words.when(incident.opened_at, now)} by {incident.opened_by}", style
    )
    lines += hanging("", incident.channel, style)
    lines += facts(_rows(incident, triage, now), style)
    lines += _candidates(triage, style)
    lines += _indexes(triage.invalid_indexes, style)
    lines += _above(triage, style)
    lines += _blockers(triage, style)
    lines += _writes_go_on(incident, triage, style)
    lines += _doubled(incident, also_open, style)
    lines += hanging("", f"Nothing changed. {_notice(incident, now)}", style)
    return page(lines, next or f"backout snapshot prove {incident.id}", style)


def _doubled(incident: Incident, also_open: tuple[str, ...], style: Style) -> list[str]:
    """Two people typed `open` for one bad migration: from now on every verb would ask for a name."""
    if not also_open:
        return []
    told = (
        f"{', '.join(also_open)}, of the same target; where it is the same trouble:"
        f" backout close {incident.id} --reason doubled"
    )
    return hanging("  also open  ", told, style)


def _rows(incident: Incident, triage: Triage, now: datetime) -> list[tuple[str, str]]:
    return [
        ("symptom", incident.symptom),
        ("suspect", suspect(triage)),
        ("committed", _committed(triage.committed, now)),
        ("applied by", triage.applied_by),
        ("did", summaries(triage.up) or triage.captured),
        ("touches", touches(triage)),
        ("since", since(triage)),
        ("queries", _queries(triage)),
        *_downs(triage),
    ]


def suspect(triage: Triage) -> str:
    """The offending migration and its place in the history."""
    if not triage.offending:
        return "none could be told"
    name = triage.offending[-1]
    row = triage.history.find(name)
    if row is None:
        return f"{name}, no row in the history of {triage.migrations_applied}"
    place = "last" if row == triage.history.head else f"number {row.position}"
    return f"{name}, {place} of {triage.migrations_applied}"


def _committed(committed: Committed, now: datetime) -> str:
    at = words.moment(committed.at)
    if at is None:
        parts = ["unknown when"]
    elif committed.source == "commit timestamp":
        parts = [f"{words.clock(at, now)} ({words.ago(at, now)})"]
    else:
        parts = [f"not before {words.clock(at, now)} ({words.ago(at, now)}), says the {committed.source}"]
    parts += [f"xid {committed.xid}"] if committed.xid else []
    parts += [f"LSN {committed.lsn}"] if committed.lsn else []
    return "  ".join(parts)


def summaries(statements: tuple[Statement, ...]) -> str:
    """What statements do, in short; those of one table after one another share its name."""
    told: list[str] = []
    table = ""
    for statement in statements:
        head, colon, rest = (statement.summary or statement.tag).partition(": ")
        told.append(rest if colon and head == table else f"{words.plain_table(head)}{colon}{rest}")
        table = head if colon else ""
    return ", ".join(told)


def touches(triage: Triage) -> str:
    """Rows, bytes and dependants of the tables that the migration touched."""
    tables = triage.touched
    if not tables:
        return "no table"
    counted = [
        (sum(t.views for t in tables), "view"),
        (sum(t.foreign_keys for t in tables), "foreign key"),
        (sum(t.cascades for t in tables), "cascade"),
        (sum(t.functions for t in tables), "function"),
    ]
    parts = [words.plural(sum(t.rows for t in tables), "row"), words.size(sum(t.bytes for t in tables))]
    parts += [words.plural(number, noun) for number, noun in counted if number]
    named = words.few([words.plain_table(table.table) for table in tables])
    return ", ".join(parts) + (f", in {named}" if len(tables) > 1 else "")


def since(triage: Triage) -> str:
    """Rows written to the touched tables after the commit, and how fast the target is written to."""
    written = words.total(table.written_since for table in triage.touched)
    told = (
        "unknown how many rows were written to it"
        if written.count is None
        else f"{words.figure(written)} rows written to it"
    )
    rate = triage.writes_per_second
    return told if rate is None else f"{told}, {rate:,.1f} rows/s"


def _queries(triage: Triage) -> str:
    if not triage.affected:
        return triage.affected_note
    first = triage.affected[0]
    told = f"{words.plural(len(triage.affected), 'statement')}, most called ({first.calls:,}): {first.query}"
    return told if len(told) <= 200 else told[:197] + "..."


def _downs(triage: Triage) -> list[tuple[str, str]]:
    if len(triage.files) < 2:
        return [("down", "".join(_down(file, triage) for file in triage.files) or "no file was found")]
    return [("down", f"{file.name}: {_down(file, triage)}") for file in triage.files]


def _down(file: MigrationFile, triage: Triage) -> str:
    """The way back as the file tells it; the statements are known of the offending migration only."""
    statements = triage.down if file.name == triage.offending[-1] else ()
    parts = [file.down.value]
    dropped = sum(statement.summary.upper().count("DROP COLUMN") for statement in statements)
    if file.down.value == "present":
        parts[0] += f"; {words.plural(len(statements), 'statement')}" if statements else "; not read"
        parts += [f"drops {words.plural(dropped, 'column')}"] if dropped else []
    if file.transactional is False:
        parts.append("not in one transaction")
    if file.origin:
        parts.append(f"file from {file.found_in.value}, {file.origin}")
    return ", ".join(parts)


def _candidates(triage: Triage, style: Style) -> list[str]:
    """Shown when there is a doubt: more than one, or one that is not simply applied."""
    doubtful = len(triage.candidates) > 1 or any(c.applied is not Applied.APPLIED for c in triage.candidates)
    if not doubtful:
        return []
    lines = ["  candidates, told apart by history, files and catalog:"]
    for candidate in triage.candidates:
        lines += _candidate(candidate, style)
    return lines


def _candidate(candidate: Candidate, style: Style) -> list[str]:
    head = f"  {style.symbol(_STATES[candidate.applied])} "
    lines = hanging(head, f"{candidate.name}  {candidate.applied.value}", style)
    lines += hanging("      ", candidate.evidence, style)
    for effect in candidate.effects:
        mark = style.symbol(State.PASS if effect.present else State.TO_COME)
        note = f", {effect.note}" if effect.note else ""
        there = "there" if effect.present else "not there"
        lines += hanging(f"      {mark} ", f"{effect.effect} {effect.object}: {there}{note}", style)
    return lines


def _indexes(indexes: tuple[InvalidIndex, ...], style: Style) -> list[str]:
    lines: list[str] = []
    for index in indexes:
        kind = "unique index" if index.unique else "index"
        text = f"{kind} {index.name} on {words.plain_table(index.table)}, ready: {_costs(index)}"
        lines += hanging(f"  {style.symbol(State.WARN)} invalid  ", text, style)
    return lines


def _costs(index: InvalidIndex) -> str:
    if not index.ready:
        return "no, it takes no part in writes; only its space is wasted"
    return "still rejects writes" if index.unique else "still costs writes"


def _above(triage: Triage, style: Style) -> list[str]:
    if not triage.collateral:
        return []
    text = f"{words.plural(len(triage.collateral), 'migration')} would be undone with it:"
    lines = hanging(f"  {style.symbol(State.WARN)} above    ", text, style)
    for name in triage.collateral:
        lines += hanging("             ", name, style)
    return lines


def _blockers(triage: Triage, style: Style) -> list[str]:
    longer = [b for b in triage.blockers if b.seconds > _BLOCKS_LONGER_THAN]
    if not longer:
        return facts([("blockers", f"none over {_BLOCKS_LONGER_THAN:.0f} s")], style)
    lines: list[str] = []
    for blocker in longer:
        pid = f"pid {blocker.pid} ({blocker.who})" if blocker.pid else blocker.who
        text = f"{pid}, {blocker.state} {words.duration(blocker.seconds)}"
        lines += facts([("blockers", f"{text}, {blocker.detail}" if blocker.detail else text)], style)
    return lines


def _writes_go_on(incident: Incident, triage: Triage, style: Style) -> list[str]:
    if not triage.writes_per_second:
        return []
    text = f"Writes go on; jobs that still write can be stopped: backout contain {incident.id}"
    return hanging("", text, style)


def _notice(incident: Incident, now: datetime) -> str:
    opened = words.moment(incident.opened_at)
    until = f", due {words.clock(opened + NOTICE_WITHIN, now)}" if opened else ""
    return f"Initial notice is drafted{until}."
