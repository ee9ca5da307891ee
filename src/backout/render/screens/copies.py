"""The screen of `copies`: every copy with its size and the end of its lease, and the scratch servers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from backout.render import words
from backout.render.layout import State, Style, hanging, page
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


class ServerRow(Protocol):
    """One scratch server; `held_until` is RFC 3339 or empty."""

    @property
    def name(self) -> str: ...
    @property
    def running(self) -> bool: ...
    @property
    def ours(self) -> bool: ...
    @property
    def held_until(self) -> str: ...
    @property
    def directory(self) -> str: ...


class InstanceRow(Protocol):
    """One restored cluster; `serves` is empty while it is isolated."""

    @property
    def name(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def serves(self) -> str: ...
    @property
    def directory(self) -> str: ...
    @property
    def lease_until(self) -> str: ...


class CopiesAnswer(Protocol):
    """What `copies` answers."""

    @property
    def copies(self) -> Sequence[CopyRow]: ...
    @property
    def servers(self) -> Sequence[ServerRow]: ...
    @property
    def instances(self) -> Sequence[InstanceRow]: ...
    @property
    def stopped(self) -> Sequence[str]:
        """Servers that were stopped just now."""
        ...

    @property
    def next(self) -> str: ...


def screen(answer: CopiesAnswer, *, style: Style, now: datetime) -> str:
    """Sizes, the sum, which leases are over, and the servers below them."""
    lines = _copies(answer.copies, style, now)
    for server in answer.servers:
        lines += hanging(f"  server {style.text(server.name)}  ", _server(server, now), style)
    for instance in answer.instances:
        lines += hanging(f"  restored {style.text(instance.name)}  ", _instance(instance, now), style)
    for name in answer.stopped:
        told = f"{name} is stopped: no process and no file of it is left"
        lines += hanging(f"  {style.symbol(State.PASS)} ", told, style)
    return page(lines, answer.next, style)


def _copies(copies: Sequence[CopyRow], style: Style, now: datetime) -> list[str]:
    if not copies:
        return ["No copy of a target exists."]
    rows = [(c.database, c.of, c.server, words.size(c.bytes), _lease(c, now)) for c in copies]
    total = words.size(sum(copy.bytes for copy in copies))
    return [*table(_HEADS, rows, style), f"{words.plural(len(copies), 'copy', 'copies')}, {total}"]


def _server(server: ServerRow, now: datetime) -> str:
    until = words.moment(server.held_until)
    if not server.running:
        return f"is stopped; its files are in {server.directory}"
    if until is not None:
        return f"runs; a lease ends {words.due(until, now)}"
    return "runs; nobody holds a copy on it" if server.ours else "is yours; nobody holds a copy on it"


def _instance(instance: InstanceRow, now: datetime) -> str:
    if instance.serves:
        return f"serves on {instance.serves}; its files are in {instance.directory}"
    if not instance.name.startswith("inc-"):
        until = words.moment(instance.lease_until)
        lease = "nobody holds it" if until is None else f"its lease ends {words.due(until, now)}"
        return f"{instance.target}, isolated; {lease.replace('ends overdue', 'is over for')}"
    return f"{instance.target}, isolated; it goes when its incident is closed"


def _lease(copy: CopyRow, now: datetime) -> str:
    until = words.moment(copy.lease_until)
    if until is None:
        return "unknown"
    return words.due(until, now).replace("overdue", "over for")
