"""The screen of `restore`: the point, what it is restored from and why, the evidence, and the way in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from backout.model.restored import Choice, HandedOver, Offer, Restored, Smoked
from backout.render import words
from backout.render.layout import Style, checks, facts, hanging, page, tally


class RestoreAnswer(Protocol):
    """What `restore` answers."""

    @property
    def target(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def choice(self) -> Choice: ...
    @property
    def restored(self) -> Restored | None: ...
    @property
    def smoked(self) -> Smoked | None: ...
    @property
    def handed(self) -> HandedOver | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def next(self) -> str: ...


_OTHERS = 4
"""Backups that did not do, of which the reason is shown."""


def screen(answer: RestoreAnswer, *, style: Style, now: datetime) -> str:
    """What will be or was restored; in the end the connection, or what failed and what else there is."""
    lines = hanging("", f"{answer.target}  restore to a new instance: {answer.outcome}", style)
    lines += _choice(answer.choice, style)
    if answer.restored is not None:
        lines += _made(answer.restored, style)
    if answer.smoked is not None:
        lines += ["", *checks(answer.smoked.checks, style), *tally(answer.smoked.checks, style)]
    if answer.handed is not None:
        lines += ["", *_handed(answer.handed, style, now)]
    if answer.outcome == "failed" and answer.handed is None:
        told = "Not handed over. Until a reason is recorded the copy is kept and its point not offered."
        lines += ["", *hanging("", told, style)]
    if answer.reason:
        lines += hanging("  recorded: ", answer.reason, style)
    return page(lines, answer.next, style)


def _choice(choice: Choice, style: Style) -> list[str]:
    rows = [
        ("point", f"{choice.target}{'  INEXACT' if choice.shortfall else ''}"),
        ("found", choice.note),
        ("inexact", str(choice.shortfall) if choice.shortfall else ""),
        ("from", f"{choice.kind} {choice.backup}, PostgreSQL {choice.major}, database {choice.database}"),
        ("source", _source(choice)),
        ("to", f"a new instance below {choice.directory}"),
        ("size", f"{words.size(choice.restore_bytes)}; {_eta(choice)}"),
        ("disk", f"needs {words.size(choice.need_bytes)}, {words.size(choice.free_bytes)} free"),
    ]
    return [*facts(rows, style), *_others(choice.offers, style)]


def _source(choice: Choice) -> str:
    if not choice.source_position:
        return choice.source
    return f"{choice.source}, WAL position {choice.source_position}; only read"


def _eta(choice: Choice) -> str:
    if choice.eta_seconds is None:
        return f"no {choice.kind} was restored here yet, so how long is not known"
    return f"about {words.duration(choice.eta_seconds)}, by the last restore here"


def _others(offers: tuple[Offer, ...], style: Style) -> Iterator[str]:
    left = [offer for offer in offers if offer.why_not]
    for offer in left[:_OTHERS]:
        yield from hanging(f"  not {style.text(offer.id)}: ", offer.why_not, style)
    if len(left) > _OTHERS:
        yield f"  and {len(left) - _OTHERS} more: backout backup list"


def _made(restored: Restored, style: Style) -> list[str]:
    rows = [
        ("instance", f"{restored.instance}, in {words.duration(restored.seconds)}, in {restored.directory}"),
        ("evidence", restored.evidence),
        *(("note", note) for note in restored.notes),
    ]
    return facts(rows, style)


def _handed(handed: HandedOver, style: Style, now: datetime) -> list[str]:
    until = words.moment(handed.lease_until)
    lease = f"{words.due(until, now)}; then: backout copies --destroy-expired" if until else ""
    connect = f'  connect    psql "{style.text(handed.connection)}"'  # never broken: it is pasted
    return [*checks(handed.checks, style), *facts([("lease ends", lease)], style), connect]
