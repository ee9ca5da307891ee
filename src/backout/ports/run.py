"""The engine at the edge: named steps whose results are kept, looks, and waits for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from backout.model.journal import Entry

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt:
    """Told to the function of a step. `in_doubt` = a process died inside this step before: the function
    must look at the world before it acts. `name` is fit for `application_name` and marks (< 63 bytes)."""

    incident: str
    key: str
    number: int
    in_doubt: bool
    name: str


class Standing(StrEnum):
    """How far a step has come."""

    NEW = "new"
    """Never begun, or ended without effect."""
    IN_DOUBT = "in doubt"
    """A process died inside it."""
    FINISHED = "finished"


class Run(Protocol):
    """What a story sees of the engine. Keys are relative; the engine puts the round in front.

    `step` runs `function` at most once to a recorded result: on replay it returns the journal's result
    without calling it. A `started` without an end makes the next attempt `in_doubt`.
    `look` runs the function in every process and journals an observation when the answer changed.
    `wait` returns the body of the first signal `name` of this round, or raises `errors.Waiting`.
    """

    @property
    def incident(self) -> str: ...

    @property
    def round(self) -> int: ...

    def step(self, key: str, returns: type[T], function: Callable[[Attempt], T]) -> T: ...

    def look(self, key: str, returns: type[T], function: Callable[[], T]) -> T: ...

    def wait(self, name: str, *, until: str, next: str) -> Mapping[str, Any]: ...

    def signals(self, name: str) -> tuple[Entry, ...]:
        """All signals `name` of this round, oldest first."""
        ...

    def earlier(self, key: str, returns: type[T]) -> T | None:
        """The newest result of this step in an earlier round, for what stays valid over rounds."""
        ...

    def result(self, key: str, returns: type[T]) -> T | None:
        """The recorded result of a step of this story, without running it."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether the person at the terminal asked to stop (Ctrl-C): long looks end themselves."""
        ...

    def newest(self, prefix: str, returns: type[T]) -> T | None:
        """The newest result of a step of this story whose key begins with `prefix`."""
        ...

    def standing(self, key: str) -> Standing:
        """How far a step has come, without running it."""
        ...

    @property
    def actor(self) -> str: ...

    def decide(self, key: str, body: Mapping[str, Any]) -> None:
        """Journal a decision once (replays write nothing)."""
        ...

    def notice(self, key: str, text: str, audience: str) -> None:
        """Journal a notice once and hand it to the channels; a dead channel never blocks. What an earlier
        round said under this key in the same words is not said again."""
        ...

    def progress(self, text: str) -> None:
        """Tell the person at the terminal what happens now; not journalled."""
        ...
