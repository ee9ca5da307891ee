"""The screen at the end of `run` and `resume`: what was destroyed, kept and lost, and what is live now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from backout.model.check import Check, all_good
from backout.model.execution import Execution, Outcome, Verification, Watch
from backout.model.plan import Rehearsal, Strategy
from backout.model.repair import RepairDone
from backout.model.restore import CanaryReads, RestoreDone
from backout.render import words
from backout.render.layout import State, Step, Style, checks, hanging, page, passed, steps, tally
from backout.render.screens.watch import watch_lines

_AGAIN = "That was before: nothing was done now, and nobody watches. `verify --watch` watches again."
_WAYS_OUT = {strategy.value: strategy for strategy in (Strategy.F_CLEAN, Strategy.F_FINISH)}


def screen(
    done: Execution,
    verification: Verification,
    watch: Watch | None,
    *,
    style: Style,
    next: str,
    now: datetime | None = None,
    rehearsal: Rehearsal | None = None,
    repaired: RepairDone | None = None,
    anew: RestoreDone | None = None,
    again: bool = False,
) -> str:
    """What was done and whether it holds; checks that did not pass are shown one by one. `again`: it was
    typed once more after the end."""
    repair = [_repair(repaired)] if repaired else []
    first = _move(anew) if anew else _down(done, rehearsal)
    lines = steps([first, *repair, _verify(verification)], style)
    lines += checks(_not_passed(verification.checks), style)
    lines += _moved(anew, style) if anew else hanging("", counted(done), style)
    lines += hanging("", brought_back(repaired), style) if repaired else []
    lines += hanging("", ended(done, now), style)
    lines += hanging("", _AGAIN, style) if again else []
    lines += watch_lines(watch, style, now) if watch else []
    if not all_good(verification.checks):
        lines += tally(verification.checks, style)
    return page(lines, next, style)


def _down(done: Execution, rehearsal: Rehearsal | None) -> Step:
    state = {
        Outcome.BACKED_OUT: State.PASS,
        Outcome.UNTOUCHED: State.FAIL,
        Outcome.IN_DOUBT: State.UNKNOWN,
    }[done.outcome]
    text = f"{_size(done)}, locked {words.duration(done.locked_seconds)}"
    waited = (f"waited {words.duration(done.waited_seconds)} for locks",) if done.waited_seconds else ()
    name = _WAYS_OUT[done.strategy].words if done.strategy in _WAYS_OUT else "down"
    return Step(state, name, text, done.seconds, rehearsal.seconds if rehearsal else None, waited)


def _repair(repaired: RepairDone) -> Step:
    rows = sum(table.rows for table in repaired.tables)
    state = State.FAIL if repaired.wrong else State.PASS
    text = f"{words.plural(rows, 'row')} in {words.plural(len(repaired.tables), 'table')}"
    return Step(state, "repair", text, repaired.seconds)


def brought_back(repaired: RepairDone) -> str:
    """`brought back 999 values, parked 0 rows, listed 1`."""
    fates = repaired.fates
    stale = f"; {repaired.label}" if repaired.label else ""
    return (
        f"brought back {words.plural(repaired.values_back, 'value')}, "
        f"parked {words.plural(fates.parked, 'row')}, listed {fates.listed:,}{stale}"
    )


def _move(anew: RestoreDone) -> Step:
    told = f"to {anew.serving.address}, writes held {anew.moved.hold_ms:.0f} ms"
    state = State.PASS if anew.proof.complete else State.WARN
    return Step(state, "traffic", told, round(anew.moved.hold_ms / 1000, 3))


def _moved(anew: RestoreDone, style: Style) -> list[str]:
    """What became of the writes, what the new server is without, and how it is started by hand."""
    fates = anew.carried.fates
    lines = hanging(
        "",
        f"{words.plural(fates.total, 'write')} since the migration: {words.fates(fates)}, 0 lost",
        style,
    )
    if anew.canary_reads is not None:
        lines += hanging("canary reads  ", canary_reads(anew.canary_reads), style)
    if anew.moved.way_back:
        lines += hanging("way back  ", f"armed until {anew.moved.way_back_until}", style)
    for note in anew.serving.notes:
        lines += hanging("new side  ", note, style)
    return lines + hanging("after a reboot  ", anew.serving.by_hand, style)


def canary_reads(tried: CanaryReads) -> str:
    """`15:00, 3 readers at most, 12 kB behind at most; 6 of 6 checks passed`."""
    readers = words.plural(tried.sessions, "reader")
    behind = words.size(tried.lag_bytes)
    return (
        f"{words.duration(tried.seconds)}, {readers} at most, {behind} behind at most; {passed(tried.checks)}"
    )


def _size(done: Execution) -> str:
    if done.strategy in _WAYS_OUT:
        return words.plural(len(done.statements), "statement")
    return words.plural(done.transactions, "transaction")


def _verify(verification: Verification) -> Step:
    state = State.PASS if all_good(verification.checks) else State.FAIL
    return Step(state, "verify", passed(verification.checks), verification.seconds)


def _not_passed(rows: Sequence[Check]) -> list[Check]:
    return [check for check in rows if not check.good]


def counted(done: Execution) -> str:
    """`destroyed 4,527 values, kept 4,527, lost 0`."""
    lost = done.values_destroyed - done.values_kept
    return (
        f"destroyed {words.plural(done.values_destroyed, 'value')}, kept {done.values_kept:,}, lost {lost:,}"
    )


def ended(done: Execution, now: datetime | None = None) -> str:
    """The state of the target, in one sentence."""
    at = words.when(done.committed_at, now)
    found = " It was found done and was not repeated." if done.how == "found done" else ""
    finished = done.strategy == Strategy.F_FINISH.value
    now_live = (
        "Finished at {}. The migration is in." if finished else "Backed out at {}. The old schema is live."
    )
    return {
        Outcome.BACKED_OUT: f"{now_live.format(at)}{found}",
        Outcome.UNTOUCHED: "Not backed out: history and schema are as they were.",
        Outcome.IN_DOUBT: "In doubt: history and schema do not agree; nothing more is done by itself.",
    }[done.outcome]
