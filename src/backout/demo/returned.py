"""What the migration destroyed, looked for again: by the formula of the calm day and by the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from backout.demo.reckoning import Found, Row, Written
from backout.demo.world import seasons
from backout.demo.world.etl import RECORD_POWER
from backout.demo.world.writes import SEASONS, USERS
from backout.model.fates import Fate, Fates
from backout.postgres.connect import Session
from backout.postgres.parked import Entry

SMOKE_USER = 1
"""The smoke test of `verify` takes its snapshot away again, and its profile remembers it."""


@dataclass(frozen=True, slots=True)
class Returned:
    """Rows and values that stood there before the migration, and whether they stand there again."""

    rows_back: int
    """Of seasons, hero_snapshots and cheers: of the calm day, and acknowledged before the migration."""
    rows_missing: int
    values_back: int
    """Mottos."""
    values_missing: int
    sums_wrong: int
    """Users whose profile or record is not what their processed snapshots say."""
    not_found: int
    writes_since: int
    """Acknowledged since the migration began."""
    rows_parked: int
    rows_waiting: int
    """Of these, undecided."""

    @property
    def good(self) -> bool:
        """Whether everything is back."""
        return not (self.rows_missing or self.values_missing or self.sums_wrong or self.rows_waiting)


def look(session: Session, written: Written, entries: Sequence[Entry], since: float) -> Returned:
    """Compare with what no copy and no counter of backout has touched; reads only."""
    rows = _same(_wanted_rows(written, since), _rows(session))
    mottos = {user: seasons.motto(user) for user in range(1, USERS + 1)} | written.mottos
    there: dict[int, str] = dict(session.execute("SELECT id, motto FROM public.users").fetchall())
    values = _same(mottos, there)
    parked = [entry for entry in entries if entry.fate is Fate.PARKED]
    return Returned(
        *(rows, len(_wanted_rows(written, since)) - rows, values, len(mottos) - values),
        sums_wrong=_sums_wrong(session),
        not_found=written.not_found,
        writes_since=sum(write.at >= since for write in written.writes),
        rows_parked=len(parked),
        rows_waiting=sum(not entry.resolution for entry in parked),
    )


_Rows = dict[tuple[str, int], tuple[object, ...]]
_Key = TypeVar("_Key")


def _same(wanted: Mapping[_Key, object], there: Mapping[_Key, object]) -> int:
    return sum(there.get(key) == value for key, value in wanted.items())


def _wanted_rows(written: Written, since: float) -> _Rows:
    wanted: _Rows = {("seasons", key): seasons.season(key) for key in range(1, SEASONS + 1)}
    wanted |= {("hero_snapshots", key): seasons.snapshot(key) for key in range(1, seasons.SNAPSHOTS + 1)}
    wanted |= {("cheers", key): seasons.cheer(key) for key in range(1, seasons.CHEERS + 1)}
    for write in written.writes:
        if write.at >= since:
            break
        if write.kind == "snapshot":
            key = write.row[1]
            wanted[write.row] = (written.users[key], written.snapshots[key][1], written.seasons.get(key))
        elif write.kind == "cheer":
            wanted[write.row] = written.cheers[write.row[1]]
    return wanted


def _rows(session: Session) -> _Rows:
    queries = {
        "seasons": "SELECT id, name FROM public.seasons",
        "hero_snapshots": "SELECT id, user_id, power, season_id FROM public.hero_snapshots",
        "cheers": "SELECT id, snapshot_id, nonce FROM public.cheers",
    }
    found = ((table, session.execute(query.encode())) for table, query in queries.items())
    return {(table, row[0]): tuple(row[1:]) for table, rows in found for row in rows}


def _sums_wrong(session: Session) -> int:
    """The ETL may still have work before it: only what it has processed is counted."""
    row = session.execute(
        """SELECT count(*) FROM (
             SELECT user_id, count(*) AS snapshots, sum(power) AS total,
                    max(power) FILTER (WHERE power >= %s) AS best
             FROM (SELECT user_id, (payload->>'power')::integer AS power FROM public.hero_snapshots
                   WHERE processed_at IS NOT NULL) processed GROUP BY user_id) wanted
           LEFT JOIN public.profile_summaries profile USING (user_id)
           LEFT JOIN public.records record USING (user_id)
           WHERE user_id <> %s AND ((wanted.snapshots, wanted.total)
             IS DISTINCT FROM (profile.snapshots, profile.total_power) OR best IS DISTINCT FROM record.power)
        """,
        (RECORD_POWER, SMOKE_USER),
    ).fetchone()
    return int(row[0]) if row else 0


def fates(written: Written, found: Found, entries: Iterable[Entry], since: float, archived: int) -> Fates:
    """The fate of each acknowledged write since: carried is what is there and on no list."""
    listed = {_row(entry): entry.fate for entry in entries}
    after = [write.row for write in written.writes if write.at >= since and write.row not in found.lost]
    on_list = [listed.get(row) for row in after]
    parked, seen = on_list.count(Fate.PARKED), on_list.count(Fate.LISTED)
    return Fates(len(after) - parked - seen - archived, archived, parked, seen)


def rows(entries: Iterable[Entry], fate: Fate) -> frozenset[Row]:
    """The rows of the lists with this fate."""
    return frozenset(_row(entry) for entry in entries if entry.fate is fate)


def _row(entry: Entry) -> Row:
    return entry.relation.removeprefix("public."), int(entry.key[0])
