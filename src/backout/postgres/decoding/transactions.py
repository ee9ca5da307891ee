"""Whole transactions out of the stream of messages: nothing is handed out before its commit was read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backout.errors import Stopped
from backout.model.changes import (
    Cell,
    Change,
    ChangedRelation,
    ChangeKind,
    Marker,
    OldImage,
    RowChange,
    Transaction,
    Truncation,
    lsn_text,
)
from backout.postgres.decoding.buffer import DEFAULT_BUDGET, Buffer
from backout.postgres.decoding.messages import (
    Begin,
    Commit,
    Delete,
    Insert,
    Message,
    Origin,
    Truncate,
    Type,
    UnreadableStream,
    Update,
    parse,
)
from backout.postgres.decoding.stream import Silence
from backout.postgres.names import MESSAGE_PREFIX

Relations = Mapping[int, ChangedRelation]
_BUFFERED = frozenset(b"IUDT")
_TELL_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing new: every transaction that committed before this position has been handed out."""

    lsn: int


Event = Transaction | Idle


class Ending(Protocol):
    """Says after which event reading stops."""

    def reached(self, event: Event) -> bool: ...


@dataclass(frozen=True, slots=True)
class End:
    """Where to stop reading; whichever comes first. Without either, reading never ends by itself."""

    lsn: int | None = None
    """Everything that committed before this position."""
    marker: Mapping[str, object] | None = None
    """A marker of ours whose body holds all of these; its transaction is the last one handed out."""

    def reached(self, event: Event) -> bool:
        """Whether this event is the last."""
        position = event.end_lsn if isinstance(event, Transaction) else event.lsn
        if self.lsn is not None and position >= self.lsn:
            return True
        if self.marker is None or isinstance(event, Idle):
            return False
        wanted = self.marker.items()
        return any(all(m.body.get(k) == v for k, v in wanted) for m in event.markers)


class DeadlinePassed(Stopped):
    """The end was not reached in time; what was handed out stays valid."""


class Assembler:
    """Messages in, whole transactions out. Knows nothing of sockets.

    `start` is the position from which the stream was asked for; `safe` the one before which everything
    that committed has been handed out. `partitioned` (oids) are tables whose full old images are not
    trusted: published under its root, a partition writes what *its* identity says, and the server calls
    it what the root's identity says. Every column outside the key is NULL there, and nothing shows it.
    """

    def __init__(
        self,
        start: int,
        directory: Path,
        budget: int = DEFAULT_BUDGET,
        *,
        partitioned: frozenset[int] = frozenset(),
    ) -> None:
        self.safe = start
        self._start = start
        self._directory = directory
        self._budget = budget
        self._partitioned = partitioned
        self._relations: Relations = {}
        self._open: _Open | None = None

    def feed(self, message: bytes) -> Transaction | None:
        """Take one message; a transaction when it was a commit."""
        if self._open is not None and message[:1] and message[0] in _BUFFERED:
            self._open.keep(message)
            return None
        match parse(message):
            case Begin() as begin:
                self._begin(begin)
            case Commit() as commit:
                return self._commit(commit)
            case Origin(name=name):
                self._inside("an origin").origin = name
            case ChangedRelation() as relation:
                self._learn(relation, message)
            case Message() as told:
                self._hear(told)
            case Type():
                pass
            case Insert() | Update() | Delete() | Truncate():
                raise UnreadableStream("a change outside a transaction")
        return None

    def idle_at(self, position: int) -> None:
        """The server says that it has sent everything up to here."""
        if self._open is None:
            self.safe = max(self.safe, position)

    def close(self) -> None:
        """Give up what is only half read."""
        if self._open is not None:
            self._open.buffer.close()
            self._open = None

    def _begin(self, begin: Begin) -> None:
        if self._open is not None:
            raise UnreadableStream("a transaction begins inside another one")
        self._open = _Open(begin, self._relations, Buffer(self._directory, self._budget))

    def _inside(self, what: str) -> _Open:
        if self._open is None:
            raise UnreadableStream(f"{what} outside a transaction")
        return self._open

    def _learn(self, relation: ChangedRelation, message: bytes) -> None:
        """From here on the table looks like this. Transactions handed out keep the mapping they began with,
        so a new one is made; it happens once for each table and change of it."""
        self._inside("a table's description").buffer.append(message)
        self._relations = {**self._relations, relation.oid: relation}

    def _hear(self, told: Message) -> None:
        if told.prefix == MESSAGE_PREFIX and told.transactional:
            self._inside("a transactional message").markers.append(_marker(told))

    def _commit(self, commit: Commit) -> Transaction | None:
        opened = self._inside("a commit")
        begin = opened.begin
        if begin.final_lsn != commit.commit_lsn:
            wanted, came = lsn_text(begin.final_lsn), lsn_text(commit.commit_lsn)
            raise UnreadableStream(f"a transaction announced for {wanted} was committed at {came}")
        self._open = None
        if commit.end_lsn <= self.safe:
            opened.buffer.close()
            if commit.end_lsn <= self._start:  # the server may begin earlier than it was asked to
                return None
            said = lsn_text(self.safe)
            raise UnreadableStream(f"a commit before {said}, and all up to there was said to be sent")
        self.safe = commit.end_lsn
        return Transaction(
            begin.xid,
            commit.commit_lsn,
            commit.end_lsn,
            commit.committed_at,
            opened.origin,
            tuple(opened.markers),
            opened.buffer.size,
            opened.count,
            BufferedChanges(opened.buffer, opened.relations, commit.commit_lsn, self._partitioned),
        )


class _Open:
    """A transaction whose commit has not been read yet."""

    def __init__(self, begin: Begin, relations: Relations, buffer: Buffer) -> None:
        self.begin = begin
        self.relations = relations
        self.buffer = buffer
        self.count = 0
        self.origin: str | None = None
        self.markers: list[Marker] = []

    def keep(self, message: bytes) -> None:
        self.count += 1
        self.buffer.append(message)


def _marker(told: Message) -> Marker:
    text = told.content.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = {}
    return Marker(told.lsn, text, body if isinstance(body, dict) else {}, told.transactional)


class BufferedChanges:
    """The changes of one transaction, parsed anew in each walk: only their bytes are kept."""

    def __init__(
        self,
        buffer: Buffer,
        relations: Relations,
        commit_lsn: int,
        partitioned: frozenset[int] = frozenset(),
    ) -> None:
        self._buffer = buffer
        self._relations = relations
        self._commit_lsn = commit_lsn
        self._partitioned = partitioned

    @property
    def spilled(self) -> bool:
        """Whether part of them lies in a file."""
        return self._buffer.spilled

    def __iter__(self) -> Iterator[Change]:
        relations = dict(self._relations)
        sequence = 0
        for message in self._buffer:
            parsed = parse(message)
            if isinstance(parsed, ChangedRelation):
                relations[parsed.oid] = parsed
            else:
                yield self._change(parsed, relations, sequence)
                sequence += 1

    def close(self) -> None:
        self._buffer.close()

    def _change(self, parsed: object, relations: Relations, sequence: int) -> Change:
        lsn = self._commit_lsn
        match parsed:
            case Insert(oid, new):
                relation = _known(relations, oid, new)
                return RowChange(relation, ChangeKind.INSERT, lsn, sequence, OldImage.NONE, (), new)
            case Update(oid, image, old, new):
                relation = _known(relations, oid, new, old)
                image = self._trusted(oid, image)
                return RowChange(relation, ChangeKind.UPDATE, lsn, sequence, image, old, new)
            case Delete(oid, image, old):
                relation = _known(relations, oid, old)
                image = self._trusted(oid, image)
                return RowChange(relation, ChangeKind.DELETE, lsn, sequence, image, old, ())
            case Truncate(oids, cascade, restart):
                truncated = tuple(_known(relations, oid) for oid in oids)
                return Truncation(truncated, lsn, sequence, cascade, restart)
        raise UnreadableStream("a message that is no change among the changes")

    def _trusted(self, oid: int, image: OldImage) -> OldImage:
        return OldImage.KEY if image is OldImage.FULL and oid in self._partitioned else image


def _known(relations: Relations, oid: int, *rows: tuple[Cell, ...]) -> ChangedRelation:
    """The table of a change; its rows must have as many cells as it has columns."""
    relation = relations.get(oid)
    if relation is None:
        raise UnreadableStream(f"a change of a table (oid {oid}) that was not described before")
    for row in rows:
        if row and len(row) != len(relation.columns):
            raise UnreadableStream(
                f"a row of {len(row)} cells for {relation.schema}.{relation.name}, "
                f"which has {len(relation.columns)} columns"
            )
    return relation


def read(
    frames: Iterable[bytes | Silence], assembler: Assembler, end: Ending, *, deadline: float | None = None
) -> Iterator[Event]:
    """Transactions in commit order, and between them `Idle` at least ten times a second, until `end`.

    Whoever takes a transaction closes its changes. The memory used does not depend on a transaction's
    size. Raises `DeadlinePassed` when the monotonic clock passes `deadline`.
    """
    told = time.monotonic()
    try:
        for frame in frames:
            event = _event(frame, assembler)
            now = time.monotonic()
            if event is None and now - told > _TELL_EVERY:
                event = Idle(assembler.safe)
            if event is not None:
                told = now
                yield event
                if end.reached(event):
                    return
            if deadline is not None and now > deadline:
                raise _too_late(assembler.safe)
    finally:
        assembler.close()


def _event(frame: bytes | Silence, assembler: Assembler) -> Event | None:
    if isinstance(frame, Silence):
        assembler.idle_at(frame.position)
        return Idle(assembler.safe)
    return assembler.feed(frame)


def _too_late(position: int) -> DeadlinePassed:
    return DeadlinePassed(
        f"the end of the change stream was not reached in time; it was read up to {lsn_text(position)}",
        intact="everything; what was applied is recorded, the slot keeps the rest",
        next="backout resume",
    )
