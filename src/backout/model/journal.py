"""One entry of the append-only, hash-chained journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class EntryKind(StrEnum):
    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"
    SIGNAL = "signal"
    WAIT = "wait"
    DECISION = "decision"
    OBSERVATION = "observation"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Entry:
    """`hash` = SHA-256 over the canonical JSON of all other fields; `prev` = the hash before it.

    `seq` counts from 1 within an incident; `at` is RFC 3339 in UTC; `body` is JSON.
    """

    incident: str
    seq: int
    at: str
    actor: str
    kind: EntryKind
    key: str
    attempt: int
    body: Mapping[str, Any]
    prev: str
    hash: str
