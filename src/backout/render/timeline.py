"""The timeline of an incident: journal entries as sentences, each with its number and hash as evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backout.model.journal import Entry, EntryKind
from backout.render import words

HASH_SHOWN = 16
"""Hex digits of an entry's hash that are shown in a row."""
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Moment:
    """One row of the timeline."""

    at: str
    what: str
    who: str
    seq: int
    hash: str


def moments(entries: Sequence[Entry]) -> tuple[Moment, ...]:
    """All that happened, oldest first. Of a step that ended only its end is told."""
    ended = {(e.key, e.attempt) for e in entries if e.kind in (EntryKind.FINISHED, EntryKind.FAILED)}
    told = [e for e in entries if e.kind is not EntryKind.STARTED or (e.key, e.attempt) not in ended]
    return tuple(Moment(e.at, _short(what(e)), e.actor, e.seq, e.hash[:HASH_SHOWN]) for e in told)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def what(entry: Entry) -> str:
    """An entry as one sentence; of its body only fields that are known to hold no rows and no secrets."""
    return _KINDS[entry.kind](entry)


def step_words(key: str) -> str:
    """`r1.execution.down` as people say it: `execution, down`; the round is told when it is not the first."""
    head, _, rest = key.partition(".")
    in_round = head[:1] == "r" and head[1:].isdigit()
    named = (rest if in_round else key).replace(".", ", ").replace("_", " ")
    return f"{named} (round {head[1:]})" if in_round and head != "r1" else named


def _field(body: Mapping[str, Any], name: str) -> str:
    """A text or number of the body or of the record in it; empty when it is neither."""
    data = body.get("data")
    value = body.get(name, data.get(name) if isinstance(data, Mapping) else None)
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _started(entry: Entry) -> str:
    return f"{step_words(entry.key)}: begun, and no end was recorded (attempt {entry.attempt})"


def _finished(entry: Entry) -> str:
    summary = _RECORDS.get(str(entry.body.get("type")))
    return f"{step_words(entry.key)}: {summary(entry.body) if summary else 'done'}"


def _failed(entry: Entry) -> str:
    intact = _field(entry.body, "intact")
    told = f"{step_words(entry.key)}: stopped, {_field(entry.body, 'what') or 'no reason recorded'}"
    return f"{told}; intact: {intact}" if intact else told


def _signal(entry: Entry) -> str:
    name = entry.key.rpartition(".")[2]
    if name == "approval":
        return f"{_field(entry.body, 'person')} approved as {_field(entry.body, 'role')}"
    reason = _field(entry.body, "reason")
    application = _field(entry.body, "application")
    also = f": {reason}" if reason else f", application {application}" if application else ""
    return f"{name}{also}"


def _wait(entry: Entry) -> str:
    return _field(entry.body, "until") or f"{step_words(entry.key)}: waits"


def _decision(entry: Entry) -> str:
    if entry.key == "open":
        return f"incident opened: {_field(entry.body, 'symptom') or 'no symptom named'}"
    reason = _field(entry.body, "reason")
    head, _, tail = entry.key.partition(".")
    if tail == "begin" and head[1:].isdigit():
        return f"round {head[1:]} begins: {reason}"
    return f"decided: {step_words(entry.key)}" + (f", {reason}" if reason else "")


def _observation(entry: Entry) -> str:
    return f"looked: {step_words(entry.key)}"


def _notice(entry: Entry) -> str:
    first = _field(entry.body, "text").splitlines()[:1]
    audience = _field(entry.body, "audience")
    return f"told {audience or 'the channel'}: {first[0] if first else ''}"


_KINDS: Mapping[EntryKind, Callable[[Entry], str]] = {
    EntryKind.STARTED: _started,
    EntryKind.FINISHED: _finished,
    EntryKind.FAILED: _failed,
    EntryKind.SIGNAL: _signal,
    EntryKind.WAIT: _wait,
    EntryKind.DECISION: _decision,
    EntryKind.OBSERVATION: _observation,
    EntryKind.NOTICE: _notice,
}


def _list(body: Mapping[str, Any], name: str) -> Sequence[Any]:
    data = body.get("data")
    value = data.get(name) if isinstance(data, Mapping) else None
    return value if isinstance(value, list | tuple) else ()


def _triage(body: Mapping[str, Any]) -> str:
    names = _list(body, "offending")
    return f"suspect {names[-1]}" if names else "no suspect could be told"


def _snapshot(body: Mapping[str, Any]) -> str:
    return f"{_field(body, 'id')} taken ({_field(body, 'scope')})"


def _proven(body: Mapping[str, Any]) -> str:
    data = body.get("data")
    proof = data.get("proof") if isinstance(data, Mapping) else None
    if not isinstance(proof, Mapping):
        return "done"
    equal = f"{proof.get('tables_equal')} of {proof.get('tables_total')} tables equal"
    return f"{proof.get('snapshot')} restored and read, {equal}"


def _rehearsal(body: Mapping[str, Any]) -> str:
    if _field(body, "failure"):
        return f"{_field(body, 'strategy')} failed: {_field(body, 'failure')}"
    seconds = _field(body, "seconds")
    took = words.duration(float(seconds)) if seconds else "?"
    return f"{_field(body, 'strategy')} ran on a copy in {took}"


def _execution(body: Mapping[str, Any]) -> str:
    destroyed, kept = _field(body, "values_destroyed"), _field(body, "values_kept")
    return f"{_field(body, 'outcome').replace('_', ' ')}, destroyed {destroyed} values, kept {kept}"


def _verification(body: Mapping[str, Any]) -> str:
    checks = _list(body, "checks")
    states = [c.get("state") for c in checks if isinstance(c, Mapping)]
    skipped = states.count("skipped")
    told = f"{sum(state in ('pass', 'warn') for state in states)} of {len(states) - skipped} checks"
    return f"{told}, {skipped} skipped" if skipped else told


_RECORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "Triage": _triage,
    "Snapshot": _snapshot,
    "Proven": _proven,
    "Rehearsal": _rehearsal,
    "Execution": _execution,
    "Verification": _verification,
}
