"""A journal of the invented incident, with links as the real one has them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from backout.model.journal import Entry, EntryKind
from backout.records import codec
from tests.render import samples

_TOLD: tuple[tuple[str, str, EntryKind, str, Mapping[str, Any]], ...] = (
    ("03:04:12", "mara.okafor", EntryKind.DECISION, "open", codec.dump(samples.INCIDENT)),
    ("03:04:12", "mara.okafor", EntryKind.DECISION, "r1.begin", {"reason": "opened"}),
    ("03:04:13", "mara.okafor", EntryKind.STARTED, "r1.triage.find", {"in_doubt": False}),
    ("03:04:14", "mara.okafor", EntryKind.FINISHED, "r1.triage.find", codec.dump(samples.TRIAGE)),
    (
        "03:05:02",
        "mara.okafor",
        EntryKind.NOTICE,
        "r1.communication.initial",
        {"text": "Rollback of migration `x` initiated.\nTarget: y", "audience": "stakeholders"},
    ),
    ("03:07:00", "mara.okafor", EntryKind.STARTED, "r1.snapshot.take", {"in_doubt": False}),
    ("03:08:52", "mara.okafor", EntryKind.FINISHED, "r1.snapshot.take", codec.dump(samples.SNAPSHOT)),
    ("03:13:20", "mara.okafor", EntryKind.FINISHED, "r1.rehearsal.A", codec.dump(samples.REHEARSAL)),
    (
        "03:13:30",
        "mara.okafor",
        EntryKind.WAIT,
        "r1.go",
        {"until": "waits for two approvals", "next": "backout approve inc-3k9d"},
    ),
    ("03:15:02", "jonas.lind", EntryKind.SIGNAL, "r1.approval", codec.dump(samples.SRE)),
    ("03:17:44", "priya.raman", EntryKind.SIGNAL, "r1.approval", codec.dump(samples.OWNER)),
    (
        "03:18:00",
        "mara.okafor",
        EntryKind.SIGNAL,
        "r1.go",
        {"application": "v41", "confirmed_by": "mara.okafor"},
    ),
    (
        "03:19:00",
        "mara.okafor",
        EntryKind.FAILED,
        "r1.execution.down",
        {"what": "no lock on hero_snapshots in 2:00", "intact": "schema and data"},
    ),
    ("03:20:27", "mara.okafor", EntryKind.FINISHED, "r1.execution.down", codec.dump(samples.EXECUTION)),
    (
        "03:21:30",
        "mara.okafor",
        EntryKind.FINISHED,
        "r1.verification.checks",
        codec.dump(samples.VERIFIED),
    ),
    (
        "03:21:31",
        "mara.okafor",
        EntryKind.NOTICE,
        "r1.communication.resolution",
        {"text": "Rollback complete.", "audience": "stakeholders"},
    ),
    ("03:22:00", "mara.okafor", EntryKind.STARTED, "watch.1.hold", {"in_doubt": False}),
)


def journal() -> tuple[Entry, ...]:
    """The entries, oldest first."""
    entries: list[Entry] = []
    head = ""
    for seq, (clock, actor, kind, key, body) in enumerate(_TOLD, start=1):
        digest = hashlib.sha256(f"{head}{seq}{key}{kind}".encode()).hexdigest()
        entries.append(
            Entry("inc-3k9d", seq, f"2026-11-22T{clock}Z", actor, kind, key, 1, body, head, digest)
        )
        head = digest
    return tuple(entries)
