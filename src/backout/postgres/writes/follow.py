"""From the slot to the target: windows of transactions, confirmed only when they are durable."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from backout.model.changes import Transaction
from backout.postgres.decoding.buffer import DEFAULT_BUDGET
from backout.postgres.decoding.stream import Stream
from backout.postgres.decoding.transactions import Assembler, DeadlinePassed, Ending, Event, Idle, read
from backout.postgres.writes.apply import Applier

_TOGETHER, _CHANGES = 200, 2_000


@dataclass(slots=True)
class Limits:
    """When a window commits; whichever comes first. May be changed while it is in use."""

    transactions: int = 2_000
    seconds: float = 1.0
    """Also how often the position is recorded while nothing happens."""
    size: int = DEFAULT_BUDGET
    """Bytes of changes kept for repeating the window."""


def follow(
    stream: Stream,
    applier: Applier,
    end: Ending,
    directory: Path,
    *,
    limits: Limits | None = None,
    deadline: float | None = None,
) -> int:
    """Apply what the stream holds until `end`; the durable position.

    `directory` takes what is too large for memory. When `deadline` (monotonic) passes, what was read is
    committed and confirmed, then `DeadlinePassed` is raised.
    """
    assembler = Assembler(applier.lsn, directory, partitioned=stream.partitioned)
    events = read(stream.frames(), assembler, end, deadline=deadline)
    try:
        last = _apply(events, stream, applier, limits or Limits())
    except DeadlinePassed:
        stream.acknowledge(applier.commit())
        raise
    applier.commit()
    stream.acknowledge(applier.advance(last))
    return applier.lsn


def _apply(events: Iterable[Event], stream: Stream, applier: Applier, limits: Limits) -> int:
    """The position before which everything was handed to the applier."""
    begun, position = time.monotonic(), applier.lsn
    together: list[Transaction] = []
    window = applier.window
    try:
        for event in events:
            now = time.monotonic()
            position = event.end_lsn if isinstance(event, Transaction) else event.lsn
            if isinstance(event, Transaction):
                begun = begun if window.transactions or together else now
                together.append(event)
            elif not window.transactions and not together and now - begun > limits.seconds:
                stream.acknowledge(applier.advance(position))
                begun = now
            late = now - begun > limits.seconds
            if late or isinstance(event, Idle) or _many(together):
                _hand_over(together, applier)
            full = len(window.transactions) >= limits.transactions or window.size > limits.size
            if window.transactions and (full or late):
                stream.acknowledge(applier.commit())
    finally:
        _hand_over(together, applier)
    return position


def _hand_over(together: list[Transaction], applier: Applier) -> None:
    """What each change needs is looked up for all of them at once."""
    if together:
        some, together[:] = tuple(together), ()
        applier.add(*some)


def _many(transactions: list[Transaction]) -> bool:
    """Enough to be worth one look-up: what each change needs is asked from the server for all of them."""
    return len(transactions) >= _TOGETHER or sum(one.count for one in transactions) >= _CHANGES
