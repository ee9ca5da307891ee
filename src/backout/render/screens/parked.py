"""The screens of `parked`: a work list, one row in its three states, and what a decision did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from backout.render import words
from backout.render.layout import State, Style, facts, hanging, page
from backout.render.tables import Column, table


class ParkedRow(Protocol):
    """What these screens need of one entry."""

    @property
    def number(self) -> int: ...
    @property
    def family(self) -> int: ...
    @property
    def fate(self) -> str: ...
    @property
    def relation(self) -> str: ...
    @property
    def key(self) -> tuple[str, ...]: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def reason(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def as_of(self) -> str: ...
    @property
    def resolution(self) -> str: ...


_HEADS = (
    Column("FAMILY"),
    Column("ROWS", right=True),
    Column("ROOT", names=True),
    Column("REASON"),
)
_LISTED = (Column("LISTED", right=True), Column("TABLE", names=True), Column("REASON"))


def list_screen(incident: str, rows: Sequence[ParkedRow], *, style: Style, next: str) -> str:
    """Open parked rows, a family a line, then how many rows are only listed, by table and reason."""
    waiting = [row for row in rows if row.fate == "parked" and not row.resolution]
    if not rows:
        return page([f"{incident} has parked and listed nothing."], next, style)
    lines = _families(waiting, style) if waiting else [f"{incident}: no row needs a person."]
    counted: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.fate == "listed":
            at = (words.plain_table(row.relation), row.reason)
            counted[at] = counted.get(at, 0) + 1
    if counted:
        drawn = [(f"{number:,}", relation, reason) for (relation, reason), number in counted.items()]
        lines += table(_LISTED, drawn, style)
    closed = sum(1 for row in rows if row.fate == "parked" and row.resolution)
    lines += [f"{closed:,} resolved"] if closed else []
    return page(lines, next, style)


def _families(waiting: Sequence[ParkedRow], style: Style) -> list[str]:
    families: dict[int, list[ParkedRow]] = {}
    for row in waiting:
        families.setdefault(row.family, []).append(row)
    drawn = []
    for root, members in families.items():
        first = next((row for row in members if row.number == root), members[0])
        drawn.append((f"{root}", f"{len(members):,}", named(first), first.reason))
    return table(_HEADS, drawn, style)


def named(row: ParkedRow) -> str:
    """`users 184229`."""
    return f"{words.plain_table(row.relation)} {', '.join(row.key)}"


def show_screen(
    row: ParkedRow,
    states: Sequence[tuple[str, Mapping[str, str] | None]],
    *,
    style: Style,
    next: str,
) -> str:
    """One row: why it waits, and its three versions, cell by cell."""
    told = [("row", named(row)), ("fate", row.resolution or row.fate), ("because", row.reason)]
    told += [("server", row.detail)] if row.detail else []
    told += [("before is", row.as_of)] if row.as_of else []
    told += [("cells", ", ".join(row.columns))] if row.columns else []
    lines = facts(told, style)
    for name, values in states:
        if values is None:
            lines += hanging(f"  {name:<9}", "no such row", style)
        else:
            lines += hanging(f"  {name:<9}", "  ".join(f"{k}={v}" for k, v in values.items()), style)
    return page(lines, next, style)


def done_screen(applied: int, left: int, *, style: Style, next: str) -> str:
    """What one decision, or another try, did."""
    state = State.PASS if applied else State.WARN
    told = f"{words.plural(applied, 'row')} settled, once; {words.plural(left, 'row')} left"
    return page(hanging(f"  {style.symbol(state)} ", told, style), next, style)
