"""The screen of `copies`: every copy on a scratch server, its size and the end of its lease."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from backout.render import words
from backout.render.layout import Style, page
from backout.render.tables import Column, table


class CopyRow(Protocol):
    """One copy of ours; moments are RFC 3339."""

    @property
    def database(self) -> str: ...
    @property
    def server(self) -> str: ...
    @property
    def of(self) -> str: ...
    @property
    def made_at(self) -> str: ...
    @property
    def lease_until(self) -> str: ...
    @property
    def bytes(self) -> int: ...


_HEADS = (
    Column("COPY", names=True),
    Column("OF", names=True),
    Column("SERVER", names=True),
    Column("SIZE", right=True),
    Column("LEASE"),
)


def screen(copies: Sequence[CopyRow], *, style: Style, now: datetime, next: str = "") -> str:
    """Sizes, the sum, and which leases are over."""
    if not copies:
        return page(["No copy of a target exists."], next or "nothing", style)
    rows = [(c.database, c.of, c.server, words.size(c.bytes), _lease(c, now)) for c in copies]
    total = words.size(sum(copy.bytes for copy in copies))
    over = any(_is_over(copy, now) for copy in copies)
    command = "backout copies --destroy-expired" if over else "nothing"
    summary = f"{words.plural(len(copies), 'copy', 'copies')}, {total}"
    return page([*table(_HEADS, rows, style), summary], next or command, style)


def _is_over(copy: CopyRow, now: datetime) -> bool:
    until = words.moment(copy.lease_until)
    return until is not None and until < now


def _lease(copy: CopyRow, now: datetime) -> str:
    until = words.moment(copy.lease_until)
    if until is None:
        return "unknown"
    return words.due(until, now).replace("overdue", "over for")
