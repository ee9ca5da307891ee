"""The screen after a signature: who has approved, and who is missing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from backout.model.people import Approval
from backout.render import words
from backout.render.layout import State, Step, Style, page, steps
from backout.render.screens.approve import ROLE_WORDS


def screen(
    approvals: Sequence[Approval],
    missing: Sequence[str],
    *,
    style: Style,
    now: datetime,
    next: str,
    note: str = "",
) -> str:
    """`approvals` oldest first, the last one just given; `missing` are the slots that nobody fills yet.

    `note` is said beside them, e.g. that one person approves alone by the policy.
    """
    if not approvals:
        return page(
            ["Nobody has approved; the earlier approvals are void.", *([note] if note else [])], next, style
        )
    last = approvals[-1]
    rows = [
        Step(State.PASS, "signed", f"{last.key}, key of {last.person}"),
        Step(State.PERSON if missing else State.PASS, "approved", _counted(approvals, missing, now)),
    ]
    if note:
        rows.append(Step(State.WARN, "policy", note))
    return page(steps(rows, style), next, style)


def _counted(approvals: Sequence[Approval], missing: Sequence[str], now: datetime) -> str:
    last, needed = approvals[-1], len(approvals) + len(missing)
    others = ", ".join(f"{ROLE_WORDS[a.role]}: {a.person}" for a in approvals[:-1])
    told = f"{words.clock(now, now)}, {len(approvals)} of {needed} for {words.short_digest(last.digest)}"
    named = f", names {', '.join(last.accepts)}" if last.accepts else ""
    return f"{told}{f' ({others})' if others else ''}{named}"
