"""The hash chain of the journal: how an entry is sealed and how a chain is checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from backout.errors import TamperedJournal
from backout.model.journal import Entry, EntryKind
from backout.records.codec import digest, plain

GENESIS = "0" * 64


def seal(entry: Entry) -> Entry:
    """The entry with its hash: SHA-256 over the canonical JSON of all other fields."""
    body: dict[str, Any] = plain(entry)
    del body["hash"]
    return replace(entry, hash=digest(body))


def make(
    head: Entry | None,
    incident: str,
    kind: EntryKind,
    key: str,
    body: Mapping[str, Any],
    *,
    actor: str,
    attempt: int,
    at: str,
) -> Entry:
    """The next entry after `head`."""
    seq, prev = (head.seq + 1, head.hash) if head else (1, GENESIS)
    return seal(Entry(incident, seq, at, actor, kind, key, attempt, dict(body), prev, ""))


def check(entries: Iterable[Entry], *, anchored: Mapping[int, str] | None = None) -> Entry | None:
    """Walk the chain; return its head.

    `anchored` = heads seen outside (seq -> hash): truncation and wholesale recomputation show only
    against them. Raises `TamperedJournal` naming the first entry that does not hold.
    """
    head: Entry | None = None
    open_anchors = dict(anchored or {})
    for entry in entries:
        expected_seq, expected_prev = (head.seq + 1, head.hash) if head else (1, GENESIS)
        if (entry.seq, entry.prev) != (expected_seq, expected_prev) or seal(entry).hash != entry.hash:
            raise _tampered(entry.incident, f"entry {entry.seq} does not continue the chain")
        if open_anchors.pop(entry.seq, entry.hash) != entry.hash:
            raise _tampered(entry.incident, f"entry {entry.seq} differs from its anchor")
        head = entry
    if open_anchors:
        incident = head.incident if head else "?"
        raise _tampered(incident, f"the journal is older than its anchor at entry {max(open_anchors)}")
    return head


def _tampered(incident: str, what: str) -> TamperedJournal:
    return TamperedJournal(
        f"the journal of {incident} was changed: {what}",
        where=f"the journal of {incident}",
        intact="the target; nothing is done on a journal that does not hold",
        next="restore journal.db from its backup, or hand the incident over: backout sheet " + incident,
    )
