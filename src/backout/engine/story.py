"""Advance a story: steps whose results are kept, looks that are repeated, waits for people.

Invariant: an effect is begun only after `started` is durable, and its result is used only after
`finished` is. So a journal that ends in `started` means *in doubt*, and the next attempt is told so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from backout.errors import BackoutError, Stopped, StoryChanged, Waiting
from backout.model.journal import Entry, EntryKind
from backout.ports.journal import Journal
from backout.ports.run import Attempt, Standing
from backout.records import codec

T = TypeVar("T")


class Teller(Protocol):
    """Where a story speaks while it advances; must never raise."""

    def progress(self, text: str) -> None: ...

    def step_begins(self, key: str, attempt: int) -> None: ...

    def step_ends(self, key: str, outcome: str, seconds: float) -> None: ...

    def notice(self, text: str, audience: str, head: Entry) -> None: ...


class Story:
    """`ports.run.Run` over a journal. `prefix` is `r<N>` for a round, `verify.<n>` and the like for the
    small stories beside it. `should_stop` is asked before every effect (Ctrl-C)."""

    def __init__(
        self,
        journal: Journal,
        incident: str,
        prefix: str,
        actor: str,
        teller: Teller,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._journal = journal
        self._incident = incident
        self._prefix = prefix
        self._actor = actor
        self._teller = teller
        self._should_stop = should_stop
        self._entries: list[Entry] = list(journal.read(incident))

    @property
    def incident(self) -> str:
        return self._incident

    @property
    def round(self) -> int:
        return int(self._prefix[1:]) if self._prefix[1:].isdigit() else current_round(self._entries)

    @property
    def actor(self) -> str:
        return self._actor

    def step(self, key: str, returns: type[T], function: Callable[[Attempt], T]) -> T:
        full = f"{self._prefix}.{key}"
        done = self._last(full, EntryKind.FINISHED)
        if done is not None:
            return codec.load(returns, done.body)
        self._stop_if_asked(full)
        attempt = self._begin(full)
        self._teller.step_begins(key, attempt.number)
        try:
            value = function(attempt)
        except BackoutError as error:
            self._append(EntryKind.FAILED, full, _failure(error), attempt.number)
            self._teller.step_ends(key, error.what, 0.0)
            raise
        if codec.type_name(type(value)) != codec.type_name(returns):
            raise StoryChanged(
                f"step {key} gave a {type(value).__name__}, not a {returns.__name__}",
                where=self._incident,
                intact="everything that the journal holds",
                next=f"backout status {self._incident}",
            )
        self._append(EntryKind.FINISHED, full, codec.dump(value), attempt.number)
        self._teller.step_ends(key, "done", 0.0)
        return value

    def look(self, key: str, returns: type[T], function: Callable[[], T]) -> T:
        full = f"{self._prefix}.{key}"
        value = function()
        body = codec.dump(value)
        before = self._last(full, EntryKind.OBSERVATION)
        if before is None or codec.canonical(before.body) != codec.canonical(body):
            self._append(EntryKind.OBSERVATION, full, body)
        return value

    def wait(self, name: str, *, until: str, next: str) -> Mapping[str, Any]:
        found = self.signals(name)
        if found:
            return found[0].body
        key = f"{self._prefix}.{name}"
        if self._last(key, EntryKind.WAIT) is None:
            self._append(EntryKind.WAIT, key, {"until": until, "next": next})
        raise Waiting(
            until, where=self._incident, intact="everything; nothing runs while it waits", next=next
        )

    def signals(self, name: str) -> tuple[Entry, ...]:
        key = f"{self._prefix}.{name}"
        return tuple(e for e in self._entries if e.kind is EntryKind.SIGNAL and e.key == key)

    def earlier(self, key: str, returns: type[T]) -> T | None:
        """The newest result of this step in any earlier round, for what stays valid over rounds."""
        for number in range(self.round - 1, 0, -1):
            done = self._last(f"r{number}.{key}", EntryKind.FINISHED)
            if done is not None and done.body.get("type") == codec.type_name(returns):
                return codec.load(returns, done.body)
        return None

    def result(self, key: str, returns: type[T]) -> T | None:
        """The recorded result of a step of this story, without running it."""
        done = self._last(f"{self._prefix}.{key}", EntryKind.FINISHED)
        return codec.load(returns, done.body) if done is not None else None

    @property
    def stopping(self) -> bool:
        return self._should_stop()

    def newest(self, prefix: str, returns: type[T]) -> T | None:
        full = f"{self._prefix}.{prefix}"
        for entry in reversed(self._entries):
            if entry.kind is EntryKind.FINISHED and entry.key.startswith(full):
                return codec.load(returns, entry.body)
        return None

    def standing(self, key: str) -> Standing:
        full = f"{self._prefix}.{key}"
        if self._last(full, EntryKind.FINISHED) is not None:
            return Standing.FINISHED
        begun = self._last(full, EntryKind.STARTED)
        failed = self._last(full, EntryKind.FAILED)
        if begun is None or (failed is not None and failed.attempt == begun.attempt):
            return Standing.NEW
        return Standing.IN_DOUBT

    def decide(self, key: str, body: Mapping[str, Any]) -> None:
        full = f"{self._prefix}.{key}"
        if self._last(full, EntryKind.DECISION) is None:
            self._append(EntryKind.DECISION, full, body)

    def notice(self, key: str, text: str, audience: str) -> None:
        full = f"{self._prefix}.{key}"
        if self._last(full, EntryKind.NOTICE) is None and not self._told(key, text):
            entry = self._append(EntryKind.NOTICE, full, {"text": text, "audience": audience})
            self._teller.notice(text, audience, entry)

    def _told(self, key: str, text: str) -> bool:
        """Whether an earlier round said the very same: people read it once."""
        return any(
            e.kind is EntryKind.NOTICE and e.key.partition(".")[2] == key and e.body.get("text") == text
            for e in self._entries
        )

    def progress(self, text: str) -> None:
        self._teller.progress(text)

    def _begin(self, full: str) -> Attempt:
        begun = [e for e in self._entries if e.kind is EntryKind.STARTED and e.key == full]
        ended = {e.attempt for e in self._entries if e.kind is EntryKind.FAILED and e.key == full}
        in_doubt = bool(begun) and begun[-1].attempt not in ended
        number = len(begun) + 1
        entry = self._append(EntryKind.STARTED, full, {"in_doubt": in_doubt}, number)
        name = f"backout/{self._incident}/{entry.seq}"[:62]
        return Attempt(self._incident, full, number, in_doubt, name)

    def _stop_if_asked(self, full: str) -> None:
        if self._should_stop():
            raise Stopped(
                f"stopped before {full}",
                where=self._incident,
                intact="everything up to here is recorded; nothing was begun",
                next=f"backout resume {self._incident}",
            )

    def _append(self, kind: EntryKind, key: str, body: Mapping[str, Any], attempt: int = 1) -> Entry:
        entry = self._journal.append(self._incident, kind, key, body, actor=self._actor, attempt=attempt)
        self._entries.append(entry)
        return entry

    def _last(self, full: str, kind: EntryKind) -> Entry | None:
        return next((e for e in reversed(self._entries) if e.kind is kind and e.key == full), None)


def _failure(error: BackoutError) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "what": error.what,
        "where": error.where,
        "intact": error.intact,
        "next": error.next,
        "retry": True,
    }


def current_round(entries: list[Entry] | tuple[Entry, ...]) -> int:
    """The newest round of an incident: `begin` decisions open rounds; 0 before the first."""
    rounds = [0]
    for entry in entries:
        head, _, tail = entry.key.partition(".")
        if entry.kind is EntryKind.DECISION and tail == "begin" and head[:1] == "r" and head[1:].isdigit():
            rounds.append(int(head[1:]))
    return max(rounds)
