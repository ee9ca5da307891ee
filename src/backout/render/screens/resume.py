"""The screen of `resume`: where the journal ends, what was looked at, and what was not repeated."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from backout.model.check import Check
from backout.model.execution import Execution, Verification, Watch
from backout.model.journal import Entry, EntryKind
from backout.render import words
from backout.render.layout import Style, checks, hanging
from backout.render.screens import run

_WORDS = {
    EntryKind.STARTED: "begun",
    EntryKind.FINISHED: "done",
    EntryKind.FAILED: "failed",
    EntryKind.SIGNAL: "said",
    EntryKind.WAIT: "waits since",
    EntryKind.DECISION: "decided",
    EntryKind.OBSERVATION: "seen",
    EntryKind.NOTICE: "told",
}


def screen(
    last: Entry,
    looked: Sequence[Check],
    done: Execution,
    verification: Verification,
    watch: Watch | None,
    *,
    style: Style,
    next: str,
    now: datetime | None = None,
) -> str:
    """`last` is the entry at which the journal ended when `resume` was typed; `looked` is what was looked at
    before anything was done."""
    where = f"{last.key} {_WORDS[last.kind]} {words.when(last.at, now)}"
    lines = hanging("The journal ends at: ", f"{where}. Looked before acting:", style)
    lines += checks(looked, style)
    if done.how == "found done":
        lines += hanging("", "The down happened once and is not repeated.", style)
    rest = run.screen(done, verification, watch, style=style, next=next, now=now)
    return "\n".join([*lines, rest])
