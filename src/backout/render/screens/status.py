"""The screen of `status`: where somebody is needed, those first that wait for a person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from backout.render import words
from backout.render.layout import State, Style, hanging, page
from backout.render.screens.kept_age import KeptAge, line
from backout.render.tables import Column, table


class IncidentRow(Protocol):
    """What one row of `status` needs to know; `update_due` is RFC 3339 or empty."""

    @property
    def incident(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def environment(self) -> str: ...
    @property
    def now(self) -> str:
        """What is happening, in a few words."""
        ...

    @property
    def waits_for(self) -> str:
        """The person or role it waits for; empty when it runs."""
        ...

    @property
    def acts(self) -> str: ...
    @property
    def update_due(self) -> str: ...
    @property
    def contained(self) -> tuple[str, ...]:
        """Jobs that are stopped until released, each with its age."""
        ...

    @property
    def next(self) -> str: ...


class StatusAnswer(Protocol):
    """All incidents that are not closed."""

    @property
    def incidents(self) -> Sequence[IncidentRow]: ...
    @property
    def warnings(self) -> Sequence[str]:
        """Leftovers and alarms."""
        ...

    @property
    def kept(self) -> Sequence[KeptAge]:
        """Values that are still kept, with their age."""
        ...

    @property
    def next(self) -> str: ...


_HEADS = (
    Column("INCIDENT"),
    Column("TARGET", names=True),
    Column("NOW", names=True),
    Column("ACTS", names=True),
    Column("UPDATE DUE"),
)


def screen(answer: StatusAnswer, *, style: Style, now: datetime, safe: str = "") -> str:
    """Overdue and waiting incidents stand first. `safe` says what is untouched."""
    ordered = sorted(answer.incidents, key=lambda row: _rank(row, now))
    lines = _table(ordered, style, now) if ordered else ["No incident is open."]
    for row in ordered:
        for job in row.contained:
            lines += hanging(f"  {style.symbol(State.WARN)} contained  ", f"{row.incident}: {job}", style)
    for warning in answer.warnings:
        lines += hanging(f"  {style.symbol(State.WARN)} ", warning, style)
    for kept in answer.kept:
        lines += line(kept, style, now)
    lines += hanging("safe: ", safe, style) if safe else []
    return page(lines, ordered[0].next if ordered else answer.next, style)


def _rank(row: IncidentRow, now: datetime) -> tuple[bool, bool, str]:
    due = words.moment(row.update_due)
    return (not (due is not None and due < now), not row.waits_for, row.incident)


def _table(rows: Sequence[IncidentRow], style: Style, now: datetime) -> list[str]:
    cells = []
    for row in rows:
        state = State.PERSON if row.waits_for else State.RUNNING
        waits = row.waits_for.removeprefix("waits for ")
        told = f"waits for {waits}" if waits else row.now
        due = words.moment(row.update_due)
        # The colour of a symbol would count as text inside a table, so this one is plain.
        symbol = Style(unicode=style.unicode).symbol(state)
        cells.append(
            (
                row.incident,
                _target(row),
                f"{symbol} {told}",
                row.acts,
                words.due(due, now) if due else row.update_due or "-",
            )
        )
    return table(_HEADS, cells, style)


def _target(row: IncidentRow) -> str:
    """The target's name, with its environment unless the name says it already."""
    named = row.environment.lower() in row.target.lower()
    return row.target if named else f"{row.target} {row.environment.upper()}"
