"""The restores that the journal knows: how far each came, which points failed and why, at what rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from backout.model.incident import Incident
from backout.model.journal import Entry, EntryKind
from backout.model.recovery import DumpMoment, RecoveryTarget
from backout.model.restored import Choice, HandedOver, Restored, Smoked
from backout.ports.journal import Journal
from backout.records import codec

T = TypeVar("T")

PREFIX = "rst"
"""Ids of restores, as `inc` is of incidents."""


@dataclass(frozen=True, slots=True)
class Try:
    """One round of one restore."""

    story: str
    round: int
    choice: Choice | None
    restored: Restored | None
    smoked: Smoked | None
    handed: HandedOver | None
    begun_at: str
    reason: str
    """Why it failed, as a person recorded it; empty = nobody has yet."""

    @property
    def instance(self) -> str:
        """Name of its instance, made or not."""
        return f"{self.story}-{self.round}"

    @property
    def failed(self) -> bool:
        """Whether its smoke tests did not hold."""
        return self.smoked is not None and not self.smoked.holds

    @property
    def unexplained(self) -> bool:
        """Whether it failed and nobody has recorded why: its copy is kept, its point not offered again."""
        return self.failed and not self.reason

    @property
    def unfinished(self) -> bool:
        """Whether a command died or stopped in it."""
        return self.choice is not None and self.handed is None and not self.failed


@dataclass(frozen=True, slots=True)
class Known:
    """One restore: its rounds, the newest last."""

    id: str
    target: str
    tries: tuple[Try, ...]

    @property
    def newest(self) -> Try:
        """The round that it is in."""
        return self.tries[-1]


def known(journal: Journal, target: str) -> Iterator[Known]:
    """Every restore of a target, newest first."""
    for name in reversed(journal.incidents()):
        if name.startswith(f"{PREFIX}-"):
            entries = journal.read(name)
            head = codec.load(Incident, entries[0].body)
            if head.target == target:
                yield Known(name, target, tuple(_tries(name, entries)))


def _tries(name: str, entries: Sequence[Entry]) -> Iterator[Try]:
    begins = [e for e in entries if e.kind is EntryKind.DECISION and e.key.endswith(".begin")]
    for begin in begins:
        number = begin.key.removesuffix(".begin").removeprefix("r")
        reasons = [e for e in entries if e.key == f"r{number}.reason"]
        yield Try(
            name,
            int(number),
            _result(entries, f"r{number}.restore.choice", Choice),
            _result(entries, f"r{number}.restore.instance", Restored),
            _result(entries, f"r{number}.restore.smoke", Smoked),
            _result(entries, f"r{number}.restore.handed", HandedOver),
            begin.at,
            str(reasons[-1].body["reason"]) if reasons else "",
        )


def _result(entries: Sequence[Entry], key: str, kind: type[T]) -> T | None:
    done = (e for e in reversed(entries) if e.kind is EntryKind.FINISHED and e.key == key)
    return next((codec.load(kind, entry.body) for entry in done), None)


def rates(journal: Journal, target: str) -> tuple[tuple[str, float], ...]:
    """(kind, bytes a second) of every restore of this target, the newest first."""
    return tuple(
        (one.choice.kind, one.restored.bytes / one.restored.seconds)
        for story in known(journal, target)
        for one in reversed(story.tries)
        if one.choice is not None and one.restored is not None and one.restored.seconds > 0
    )


def unexplained(journal: Journal, target: str) -> tuple[Try, ...]:
    """Every round that failed its smoke tests and has no reason on record."""
    return tuple(one for story in known(journal, target) for one in story.tries if one.unexplained)


def tried(journal: Journal, target: str, point: RecoveryTarget | DumpMoment, backup: str) -> Try | None:
    """The round in which this point of this backup failed and nobody recorded why."""
    return next(
        (
            one
            for one in unexplained(journal, target)
            if one.choice is not None and (one.choice.target, one.choice.backup) == (point, backup)
        ),
        None,
    )
