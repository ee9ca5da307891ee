"""Judge a restore of its own: snapshots, gaps, counts, consistency, settings read back; pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from backout.errors import Refused
from backout.model.check import Check, CheckState
from backout.model.recovery import RecoveryTarget
from backout.model.restored import Choice, Offer, PointKind, Shortfall, Wanted
from backout.model.snapshot import Scope, Snapshot, SnapshotKind
from backout.postgres.consistency import Counted, Finding

_APART = 0.5
"""A table whose count is this far (as a share) from the source's statistics is named."""
_SMALL = 100
"""Rows below which no statistics are believed."""
_SHOWN = 3


def why_no_restore(snapshot: Snapshot) -> str:
    """Why backout cannot restore this snapshot by itself; empty when it can."""
    if snapshot.kind is SnapshotKind.PROVIDER:
        return "it is an ID that a person recorded; its provider restores it"
    if snapshot.kind is SnapshotKind.ADOPTED and not snapshot.path:
        return "nobody knows where its file lies"
    if snapshot.kind is SnapshotKind.DUMP and not snapshot.directory:
        return "its files are gone"
    return ""


def scope_note(snapshot: Snapshot) -> str:
    """What of the database a snapshot holds, in words."""
    if snapshot.scope is Scope.BLAST_RADIUS:
        return f"rows of {len(snapshot.radius)} tables only (blast radius); every other table is empty"
    return snapshot.note or "the whole database"


def snapshot_offers(there: Sequence[Snapshot], chosen: Snapshot) -> tuple[Offer, ...]:
    """Every snapshot, newest first, with why it is not the one."""
    return tuple(
        Offer(
            *(one.id, one.kind.value, one.taken_at, one.lsn, one.size_bytes),
            "" if one == chosen else why_no_restore(one) or f"{chosen.id} was chosen",
        )
        for one in there
    )


_OPTIONS = {
    PointKind.POSITION: "--to",
    PointKind.MIGRATION: "--before-migration",
    PointKind.BACKUP: "--at-backup",
    PointKind.SNAPSHOT: "--snapshot",
    PointKind.TIME: "--to-time",
}


def command(wanted: Wanted, target: str, *more: str) -> str:
    """The command line that asks for this point."""
    asked = (_OPTIONS[wanted.kind], wanted.value) if wanted.kind in _OPTIONS else ()
    inexact = ("--inexact",) if wanted.inexact else ()
    return f"backout {shlex.join(('restore', '--target', target, *asked, *inexact, *more))}"


def not_reachable(point: RecoveryTarget, short: Shortfall, wanted: Wanted, target: str) -> Refused:
    """The refusal for a gap in the WAL: how far it goes, and what taking that instead would lose."""
    at = f" of {short.committed_at}" if short.committed_at else ""
    return Refused(
        f"WAL segment {short.missing} is missing, so {point} cannot be reached; the last point that can: "
        f"{short.reached}{at} (inexact). {_lost(short)}",
        where="the archived WAL",
        intact="the source and every backup; nothing was started",
        next=f"bring the segment into the archive, or take it: {command(wanted, target, '--inexact')}",
    )


def _lost(short: Shortfall) -> str:
    if short.lost.count is None:
        return f"How many transactions that loses cannot be counted: {short.note}"
    return f"That loses at most {short.lost.count:,} transactions ({short.note})"


def schema(choice: Choice, restored: Sequence[str], table: str) -> Check:
    """Whether the restored history is what the point says."""
    head = restored[-1] if restored else ""
    shown = head or "no migration"
    where = table.removeprefix("public.") or "no history table"
    if choice.expected_head is not None and head != choice.expected_head:
        wanted = choice.expected_head or "no migration"
        detail = f"{where} ends with {shown}; this point has to end with {wanted}"
        return Check("schema", CheckState.FAIL, detail, "choose another point: backout restore")
    if choice.heads is None:
        detail = f"{where} ends with {shown}; the source does not answer, so nothing is compared with it"
        return Check("schema", CheckState.WARN, detail)
    strangers = [name for name in restored if name not in choice.heads]
    if strangers:
        detail = (
            f"{where} ends with {shown}; the source does not list {', '.join(strangers[:_SHOWN])} any more"
        )
        return Check("schema", CheckState.WARN, detail)
    behind = len(choice.heads) - len(restored)
    since = f", {behind} fewer than the source lists now" if behind > 0 else ", as the source lists now"
    return Check("schema", CheckState.PASS, f"{where} ends with {shown}{since}")


def counts(counted: Sequence[Counted], expected: Mapping[str, int], *, exact: bool) -> tuple[Check, ...]:
    """Every table read; its rows against a manifest (`exact`) or the source's statistics of now."""
    return (_readable(counted), _against(counted, expected, exact=exact))


def _readable(counted: Sequence[Counted]) -> Check:
    bad = [f"{one.table}: {one.error}" for one in counted if one.error]
    if bad:
        return Check("rows", CheckState.FAIL, f"cannot be read: {_some(bad)}", "backout restore")
    rows = sum(one.rows for one in counted)
    return Check("rows", CheckState.PASS, f"{len(counted)} tables read to the end, {rows:,} rows")


def _against(counted: Sequence[Counted], expected: Mapping[str, int], *, exact: bool) -> Check:
    there = {one.table: one.rows for one in counted}
    what = "the snapshot's manifest" if exact else "the source's statistics of now"
    if not expected:
        return Check("counts", CheckState.SKIPPED, f"{what} has no rows to compare with")
    far = [
        f"{table}: {there.get(table, 0):,} here, {rows:,} there"
        for table, rows in sorted(expected.items())
        if (there.get(table) != rows if exact else _apart(there.get(table), rows))
    ]
    if not far:
        return Check("counts", CheckState.PASS, f"{len(expected)} tables as {what} has them")
    state = CheckState.FAIL if exact else CheckState.WARN
    return Check("counts", state, f"differ from {what}: {_some(far)}")


def _apart(here: int | None, there: int) -> bool:
    """Statistics are estimates, and the source has moved on: only a large difference is worth a word."""
    if here is None:
        return there >= _SMALL
    return abs(here - there) > max(_SMALL, _APART * max(here, there))


def orphans(looked: int, found: Sequence[Finding], unchecked: Sequence[str]) -> tuple[Check, ...]:
    """Rows without a parent: a validated key that does not hold is damage, another was never promised."""
    checks = [_findings("foreign keys", looked, found, "every row has its parent", "rows without a parent")]
    if unchecked:
        detail = f"not validated, so nobody promised: {_some(unchecked)}"
        checks.append(Check("not validated", CheckState.WARN, detail))
    return tuple(checks)


def duplicates(looked: int, found: Sequence[Finding]) -> Check:
    """Keys that stand in the heap more than once."""
    return _findings("unique keys", looked, found, "no key stands twice in the heap", "keys that stand twice")


def _findings(name: str, looked: int, found: Sequence[Finding], good: str, bad: str) -> Check:
    broken = [f"{one.name}: {_many(one.count)}" for one in found if one.count]
    blind = [f"{one.name}: {one.error}" for one in found if one.error]
    if any(one.count and one.declared for one in found):
        return Check(
            name, CheckState.FAIL, f"{bad}: {_some(broken)}", "another backup or point: backout restore"
        )
    if blind:
        return Check(name, CheckState.UNKNOWN, f"could not be looked at: {_some(blind)}")
    if broken:
        return Check(name, CheckState.WARN, f"{bad}, of keys that are not validated: {_some(broken)}")
    return Check(name, CheckState.PASS, f"{looked} looked at: {good}")


def _many(count: int) -> str:
    return f"{count:,}" if count < 1000 else "1,000 or more"


def indexes(invalid: Sequence[str]) -> Check:
    """Indexes that queries do not use."""
    if invalid:
        return Check("indexes", CheckState.WARN, f"invalid, as they were in the source: {_some(invalid)}")
    return Check("indexes", CheckState.PASS, "none is invalid")


def sequences(looked: int, found: Sequence[Finding], in_source: Sequence[str]) -> Check:
    """Sequences that would give out a value that is there; one that stands so in the source as well is no
    damage of this restore."""
    late = [one.name for one in found if one.count and one.name not in in_source]
    same = [one.name for one in found if one.count and one.name in in_source]
    blind = [f"{one.name}: {one.error}" for one in found if one.error]
    if late:
        return Check("sequences", CheckState.FAIL, f"behind their columns: {_some(late)}", "backout restore")
    if blind:
        return Check("sequences", CheckState.UNKNOWN, f"could not be looked at: {_some(blind)}")
    if same:
        return Check("sequences", CheckState.WARN, f"behind their columns, as in the source: {_some(same)}")
    return Check("sequences", CheckState.PASS, f"{looked} ahead of their columns")


def extensions(missing: Sequence[str]) -> Check:
    """Whether the functions of every extension can be called here."""
    if missing:
        return Check("extensions", CheckState.FAIL, f"without files on this machine: {_some(missing)}")
    return Check("extensions", CheckState.PASS, "every installed one has its files")


DURABLE: Mapping[str, str] = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
ISOLATED: Mapping[str, str] = {
    "listen_addresses": "",
    "archive_mode": "off",
    "max_logical_replication_workers": "0",
    "primary_conninfo": "",
    "shared_preload_libraries": "",
    "synchronous_standby_names": "",
}


def settings(name: str, wanted: Mapping[str, str], read: Mapping[str, str], good: str) -> Check:
    """Settings of the server against what they have to be."""
    wrong = [f"{key} is {read[key]!r}" for key, value in wanted.items() if read.get(key, value) != value]
    if wrong:
        return Check(name, CheckState.FAIL, "; ".join(wrong), "backout copies")
    return Check(name, CheckState.PASS, good)


def cut_off(alone: bool) -> Check:
    """Whether the instance can reach any network."""
    if alone:
        return Check("network", CheckState.PASS, "none: it runs in a network namespace of its own")
    detail = "this system allows no network namespace: functions of the copy could still reach a network"
    return Check("network", CheckState.WARN, detail)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
