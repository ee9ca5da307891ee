"""The ledger read back: is every acknowledged write there, once, and every destroyed value kept?"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backout.demo.world.ledger import entries
from backout.postgres import kept
from backout.postgres.connect import Session

Row = tuple[str, int]
"""A table of the application, and a key in it."""

DESTROYED = ("source", "confidence")
"""The columns of hero_snapshots that the down drops."""


@dataclass(slots=True)
class Written:
    """What the application's ledger says."""

    acknowledged: int = 0
    client_errors: int = 0
    snapshots: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Key of every acknowledged snapshot: its nonce and its power."""
    visits: dict[int, int] = field(default_factory=dict)
    """Key of every visited user: the last acknowledged value, which only grows."""
    users: dict[int, int] = field(default_factory=dict)
    """Key of every acknowledged snapshot: its user."""
    seasons: dict[int, int] = field(default_factory=dict)
    """Key of every snapshot that was taken in a season: that season."""
    cheers: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Key of every cheer: its snapshot and its nonce."""
    mottos: dict[int, str] = field(default_factory=dict)
    """Key of every user with a motto: the last one, whose number only grows."""
    filled: dict[tuple[int, str], object] = field(default_factory=dict)
    """(key, destroyed column): the last acknowledged value, never None."""
    runs: list[list[float]] = field(default_factory=list)
    """Times of acknowledgement, one list per client and start of the application."""
    writes: list[Acknowledged] = field(default_factory=list)
    """All of them, oldest first."""
    not_found: int = 0
    """Writes to a row that was not there: nothing was written, nothing acknowledged."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One acknowledged write; `at` in seconds since the epoch."""

    at: float
    kind: str
    row: Row


def read(path: Path) -> Written:
    """Everything that the ledger says, in one pass."""
    written = Written()
    open_runs: dict[object, list[float]] = {}
    for entry in entries(path):
        match entry["kind"]:
            case "error":
                written.client_errors += 1
            case "gone":
                written.not_found += 1
            case "begin":
                open_runs[entry["client"]] = []
                written.runs.append(open_runs[entry["client"]])
            case _:
                written.acknowledged += 1
                at, row = float(entry["at"]), (entry["table"], int(entry["key"]))
                open_runs[entry["client"]].append(at)
                written.writes.append(Acknowledged(at, entry["kind"], row))
                _note(written, entry["kind"], row[1], entry["values"])
    return written


def _note(written: Written, kind: str, key: int, values: Mapping[str, Any]) -> None:
    match kind:
        case "visit":
            written.visits[key] = int(values["seen"])
        case "motto":
            written.mottos[key] = values["motto"]
        case "cheer":
            written.cheers[key] = (int(values["snapshot_id"]), values["nonce"])
        case "retake":
            written.snapshots[key] = (written.snapshots[key][0], int(values["power"]))
        case "snapshot":
            written.snapshots[key] = (values["nonce"], int(values["power"]))
            written.users[key] = int(values["user_id"])
    if values.get("season_id") is not None:
        written.seasons[key] = int(values["season_id"])
    for column in DESTROYED:
        if values.get(column) is not None:
            written.filled[key, column] = values[column]


def since(written: Written, moment: float) -> Written:
    """The same, but only of the rows that were written to since `moment`, seconds since the epoch."""
    rows = {write.row for write in written.writes if write.at >= moment}
    return replace(
        written,
        snapshots={key: row for key, row in written.snapshots.items() if ("hero_snapshots", key) in rows},
        cheers={key: row for key, row in written.cheers.items() if ("cheers", key) in rows},
        visits={key: last for key, last in written.visits.items() if ("users", key) in rows},
        mottos={},
        filled={},
    )


@dataclass(frozen=True, slots=True)
class Found:
    """What the database says to that."""

    lost: frozenset[Row]
    """Rows in which the last acknowledged write is not found."""
    doubled_writes: int
    values_kept: int
    """Destroyed values of the ledger that are kept with their last acknowledged content."""

    @property
    def lost_writes(self) -> int:
        """How many."""
        return len(self.lost)


def acknowledged(written: Written, row: Row) -> str:
    """A row and what the ledger holds of it last, for whoever looks for a lost write."""
    table, key = row
    held: dict[str, Mapping[int, object]] = {
        "hero_snapshots": written.snapshots,
        "users": written.visits,
        "cheers": written.cheers,
    }
    when = max((write.at for write in written.writes if write.row == row), default=0.0)
    return f"{table} {key}, last acknowledged {held[table].get(key)} at {when:.3f}"


def look(session: Session, written: Written, incident: str) -> Found:
    """Compare the database with the ledger; reads only."""
    rows: dict[int, tuple[str, int]] = {}
    times: Counter[str] = Counter()
    for key, nonce, power in session.execute(_snapshots(session)):
        rows[key] = (nonce, power)
        times[nonce] += 1
    seen: dict[int, int] = dict(
        session.execute("SELECT id, seen FROM public.users WHERE seen > 0").fetchall()
    )
    lost = {("hero_snapshots", key) for key, values in written.snapshots.items() if rows.get(key) != values}
    # a larger value is a write whose acknowledgement never reached the ledger: there, not lost
    lost |= {("users", user) for user, last in written.visits.items() if seen.get(user, 0) < last}
    lost |= {("users", user) for user in _lost_mottos(session, written)}
    cheers = _cheers(session, written)
    lost |= {("cheers", key) for key, values in written.cheers.items() if cheers.get(key) != values}
    times.update(nonce for _, nonce in cheers.values())
    doubled = sum(count - 1 for count in times.values())
    values = _kept(session, incident)
    held = sum(values.get(where) == value for where, value in written.filled.items())
    return Found(frozenset(lost), doubled, held)


def _cheers(session: Session, written: Written) -> dict[int, tuple[int, str]]:
    """The application's cheers; only a version that writes some has the table."""
    if not written.cheers:
        return {}
    rows = session.execute("SELECT id, snapshot_id, nonce FROM public.cheers").fetchall()
    return {key: (snapshot, nonce) for key, snapshot, nonce in rows}


def _lost_mottos(session: Session, written: Written) -> set[int]:
    if not written.mottos:
        return set()
    query = "SELECT id, motto FROM public.users WHERE motto LIKE 'onwards %%' AND id = ANY(%s)"
    there: dict[int, str] = dict(session.execute(query, (list(written.mottos),)).fetchall())
    return {user for user, last in written.mottos.items() if _number(there.get(user, "0")) < _number(last)}


def _number(motto: str) -> int:
    return int(motto.rpartition(" ")[2])


def _snapshots(session: Session) -> bytes:
    """The application's snapshots; `strength` is what the migration made of `power`."""
    columns = {
        row[0]
        for row in session.execute(
            """SELECT attname::text FROM pg_catalog.pg_attribute
               WHERE attrelid = 'public.hero_snapshots'::pg_catalog.regclass AND NOT attisdropped"""
        )
    }
    power = "power" if "power" in columns else "strength"
    query = "SELECT id, payload->>'nonce', {} FROM public.hero_snapshots WHERE payload ? 'nonce'"
    return query.format(power).encode()


def _kept(session: Session, incident: str) -> dict[tuple[int, str], object]:
    found: dict[tuple[int, str], object] = {}
    for table in kept.tables(session, incident):
        if table.relation != "public.hero_snapshots" or table.key != ("id",):
            continue
        some = kept.sample(session, table, 2**31)
        for row in some.rows:
            values = dict(zip(some.names, row, strict=True))
            for column in DESTROYED:
                if values.get(column) is not None:
                    found[int(str(values["id"])), column] = values[column]
    return found


def longest_gap_ms(written: Written, begun: float, ended: float) -> int:
    """The longest time between two acknowledgements that one client saw, in [begun, ended].

    A gap that only begins or only ends inside counts whole. Times in seconds since the epoch.
    """
    gaps = (gap for run in written.runs for gap in _gaps(run, begun, ended))
    return round(max(gaps, default=0.0) * 1000)


def _gaps(times: list[float], begun: float, ended: float) -> Iterable[float]:
    pairs = itertools.pairwise(times)
    return (after - before for before, after in pairs if after >= begun and before <= ended)


def by_version(path: Path) -> Mapping[str, int]:
    """Acknowledged writes of each version of the application."""
    counts: dict[str, int] = defaultdict(int)
    for entry in entries(path):
        if "table" in entry:
            counts[str(entry["version"])] += 1
    return counts
