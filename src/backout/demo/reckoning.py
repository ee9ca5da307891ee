"""The ledger read back: is every acknowledged write there, once, and every destroyed value kept?"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backout.demo.world.ledger import entries
from backout.postgres import kept
from backout.postgres.connect import Session

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
    filled: dict[tuple[int, str], object] = field(default_factory=dict)
    """(key, destroyed column): the last acknowledged value, never None."""
    runs: list[list[float]] = field(default_factory=list)
    """Times of acknowledgement, one list per client and start of the application."""


def read(path: Path) -> Written:
    """Everything that the ledger says, in one pass."""
    written = Written()
    open_runs: dict[object, list[float]] = {}
    for entry in entries(path):
        match entry["kind"]:
            case "error":
                written.client_errors += 1
            case "begin":
                open_runs[entry["client"]] = []
                written.runs.append(open_runs[entry["client"]])
            case _:
                written.acknowledged += 1
                open_runs[entry["client"]].append(float(entry["at"]))
                _note(written, entry["kind"], int(entry["key"]), entry["values"])
    return written


def _note(written: Written, kind: str, key: int, values: Mapping[str, object]) -> None:
    if kind == "visit":
        written.visits[key] = int(str(values["seen"]))
        return
    if kind == "snapshot":
        written.snapshots[key] = (str(values["nonce"]), int(str(values["power"])))
    for column in DESTROYED:
        if values.get(column) is not None:
            written.filled[key, column] = values[column]


@dataclass(frozen=True, slots=True)
class Found:
    """What the database says to that."""

    lost_writes: int
    doubled_writes: int
    values_kept: int
    """Destroyed values of the ledger that are kept with their last acknowledged content."""


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
    lost = sum(rows.get(key) != values for key, values in written.snapshots.items())
    # a larger value is a write whose acknowledgement never reached the ledger: there, not lost
    lost += sum(seen.get(user, 0) < last for user, last in written.visits.items())
    doubled = sum(count - 1 for count in times.values())
    values = _kept(session, incident)
    held = sum(values.get(where) == value for where, value in written.filled.items())
    return Found(lost, doubled, held)


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
        names, rows = kept.sample(session, table, 2**31)
        for row in rows:
            values = dict(zip(names, row, strict=True))
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
