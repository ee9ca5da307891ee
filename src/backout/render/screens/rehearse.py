"""The screen of `rehearse`: if this had to be backed out tonight. An exercise, nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from backout.model.gate import Proposals
from backout.model.loss import DestroyedBy
from backout.model.plan import Rehearsal
from backout.model.snapshot import Snapshot
from backout.model.triage import Triage
from backout.render import words
from backout.render.layout import Place, Style, facts, hanging, page
from backout.render.losses import of, values
from backout.render.screens.open import suspect, touches
from backout.render.screens.propose import evidence, strategies


def screen(
    exercise_id: str,
    place: Place,
    triage: Triage,
    proposals: Proposals,
    rehearsals: Sequence[Rehearsal],
    *,
    style: Style,
    now: datetime,
    snapshot: Snapshot | None = None,
    next: str = "nothing",
) -> str:
    """The same evidence as a proposal, without an incident and without anything to sign."""
    lines = hanging("", str(place), style)
    lines += hanging("", f"{exercise_id}  an exercise; the target was only read", style)
    lines += facts([("suspect", suspect(triage)), ("touches", touches(triage))], style)
    for rehearsal in rehearsals:
        lines += evidence(rehearsal, triage, snapshot, style, now)
    lines += ["", *strategies(proposals, style)]
    lines += hanging("", f"If this had to be backed out tonight: {tonight(proposals, rehearsals)}", style)
    return page(lines, next, style)


def tonight(proposals: Proposals, rehearsals: Sequence[Rehearsal]) -> str:
    """The whole answer in a sentence or two."""
    chosen = next((o for o in proposals.options if o.strategy.value == proposals.recommended), None)
    if chosen is None:
        return "no way back can be recommended; read the reasons above while it is calm."
    told = [f"{chosen.strategy.value}, {chosen.strategy.words}"]
    told += [f"{words.duration(chosen.total_seconds)} in all"] if chosen.total_seconds is not None else []
    if chosen.pause_seconds is not None:
        told.append(f"locked for {words.duration(chosen.pause_seconds)}")
    rehearsal = next((r for r in rehearsals if r.strategy is chosen.strategy), None)
    if rehearsal is not None:
        told.append(_price(rehearsal))
    return ", ".join(told) + "."


def _price(rehearsal: Rehearsal) -> str:
    down = values(of(rehearsal.losses, DestroyedBy.DOWN))
    if down.count == 0:
        return "no value would be destroyed"
    return f"{words.figure(down)} values would be destroyed and {rehearsal.kept_values:,} of them kept"
