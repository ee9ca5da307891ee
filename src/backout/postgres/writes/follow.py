"""From the slot to the target: windows of transactions, confirmed only when they are durable."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from backout.model.changes import Transaction
from backout.postgres.decoding.buffer import DEFAULT_BUDGET
from backout.postgres.decoding.stream import Stream
from backout.postgres.decoding.transactions import Assembler, DeadlinePassed, End, Event, read
from backout.postgres.writes.apply import Applier


@dataclass(frozen=True, slots=True)
class Limits:
    """When a window commits; whichever comes first."""

    transactions: int = 2_000
    seconds: float = 1.0
    """Also how often the position is recorded while nothing happens."""
    size: int = DEFAULT_BUDGET
    """Bytes of changes kept for repeating the window."""


def follow(
    stream: Stream,
    applier: Applier,
    end: End,
    directory: Path,
    *,
    limits: Limits = Limits(),
    deadline: float | None = None,
) -> int:
    """Apply what the stream holds until `end`; the durable position.

    `directory` takes what is too large for memory. When `deadline` (monotonic) passes, what was read is
    committed and confirmed, then `DeadlinePassed` is raised.
    """
    assembler = Assembler(applier.lsn, directory, partitioned=stream.partitioned)
    events = read(stream.frames(), assembler, end, deadline=deadline)
    try:
        last = _apply(events, stream, applier, limits)
    except DeadlinePassed:
        stream.acknowledge(applier.commit())
        raise
    applier.commit()
    stream.acknowledge(applier.advance(last))
    return applier.lsn


def _apply(events: Iterable[Event], stream: Stream, applier: Applier, limits: Limits) -> int:
    """The position before which everything was handed to the applier."""
    begun, position = time.monotonic(), applier.lsn
    for event in events:
        now = time.monotonic()
        window = applier.window
        position = event.end_lsn if isinstance(event, Transaction) else event.lsn
        if isinstance(event, Transaction):
            begun = begun if window.transactions else now
            applier.add(event)
        elif not window.transactions and now - begun > limits.seconds:
            stream.acknowledge(applier.advance(position))
            begun = now
        full = len(window.transactions) >= limits.transactions or window.size > limits.size
        if window.transactions and (full or now - begun > limits.seconds):
            stream.acknowledge(applier.commit())
    return position
