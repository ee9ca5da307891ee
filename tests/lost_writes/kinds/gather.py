"""Read the databases of a night into what the verdict judges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from psycopg import sql

from backout.postgres import parked
from backout.postgres.connect import Session, open_session
from backout.postgres.parked import Entry
from tests.lost_writes.kinds import verdict
from tests.lost_writes.kinds.application import Key, Ledger
from tests.lost_writes.kinds.cast import TABLES, Row, Value, place
from tests.lost_writes.kinds.migration import View
from tests.lost_writes.kinds.rescue import INCIDENT, NAME, Night
from tests.lost_writes.kinds.worlds import World

Told = Mapping[str, Mapping[Key, Sequence[Entry]]]
"""Entries by relation and key."""


def rows(session: Session, view: View, columns: Sequence[str] | None = None) -> dict[Key, Row]:
    """All rows under the names of the old schema: these columns, or all that the view has; {} = no table."""
    if not view.place:
        return {}
    names = [c for c in columns or view.names if c in view.names]
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(view.names[c])) for c in names),
        sql.SQL(view.place),
    )
    made = (dict(zip(names, row, strict=True)) for row in session.execute(query))
    return {tuple(str(row[column]) for column in view.table.key): row for row in made}


def bag(session: Session, where: str) -> list[tuple[str, ...]]:
    """All rows of a table without a key."""
    found = session.execute(f"SELECT at::text, said FROM {where}".encode()).fetchall()
    return sorted(tuple(map(str, row)) for row in found)


def whole(world: World, table: str) -> View:
    """The table as it was, generated columns too."""
    view = world.before[table]
    more = {"twice": "twice"} if table == "counted" else {}
    return View(view.table, view.place, view.names | more)


class Scene:
    """One strategy at the end: where its result stands, and what it is to be compared with."""

    def __init__(
        self,
        n: Night,
        result: str,
        migrated: str,
        oracle: Oracle,
        written: Oracle,
        *,
        undone: bool = False,
        blind: bool = True,
    ) -> None:
        self._blind = blind
        self._n = n
        self._undone = undone
        self._oracle = oracle
        self._written = written
        self._result, self._migrated = result, migrated
        with open_session(n.dsn(result), NAME) as session:
            self.told = _told(session)
            self.refused = _refused(session)

    def faults(self, world: World, ledger: Ledger) -> Iterator[str]:
        """Everything that breaks the promise in this world."""
        with (
            open_session(self._n.dsn(self._result), NAME) as result,
            open_session(self._n.dsn(self._migrated), NAME) as migrated,
            open_session(self._n.dsn(self._n.before), NAME) as before,
        ):
            for table in TABLES:
                if table.key:
                    yield from verdict.faults(self._seen(world, table.name, ledger, result, migrated, before))
        if not self._undone:
            yield from self._archived(world, ledger)

    def _seen(
        self, world: World, table: str, ledger: Ledger, result: Session, migrated: Session, before: Session
    ) -> verdict.Seen:
        view, old = self._view(world, table), whole(world, table)
        found, oracle = rows(result, old), self._oracle[world.seed, table]
        place_ = world.after[table].place
        told: dict[Key, list[Entry]] = defaultdict(list)
        for relation in dict.fromkeys((old.place, place_)):
            for key, entries in self.told.get(relation, {}).items():
                for entry in entries:
                    for one in _keys(entry, old, key):
                        told[one].append(entry)
        return verdict.Seen(
            table=table,
            before=rows(before, old),
            migrated=rows(migrated, view),
            written=self._written[world.seed, table],
            found=found,
            oracle=oracle,
            told=told,
            refused=self.refused.get(place_, {}),
            ledger=ledger,
            blind=self._blind,
            versions=self._undone and not world.rewritten(table),
            same=_forms(result, world.after[table], found, oracle),
            converted=frozenset(world.after[table].converted),
        )

    def _view(self, world: World, table: str) -> View:
        return world.before[table] if self._undone else world.after[table]

    def _archived(self, world: World, ledger: Ledger) -> Iterator[str]:
        """What the old schema has no place for is kept, with its value."""
        with (
            open_session(self._n.dsn(self._n.live), NAME) as live,
            open_session(self._n.dsn(self._n.migrated), NAME) as migrated,
        ):
            for view in world.after.values():
                if view.added and view.place:
                    yield from self._added(view, live, migrated, ledger)
        for table, key in sorted(ledger.made):
            if (key,) not in self.told.get(f"{world.schema}.{table}", {}):
                yield f"  {table} {key}: a row of a table that the migration made is told nowhere"

    def _added(self, view: View, live: Session, migrated: Session, ledger: Ledger) -> Iterator[str]:
        names = {c: n for c, n in view.names.items() if c in view.table.key}
        seen = View(view.table, view.place, names | {f"+{c}": c for c in view.added})
        stood, stands = rows(migrated, seen), rows(live, seen)
        told = self.told.get(place(view.table, view.place.partition(".")[0]), {})
        for key, row in stands.items():
            was = stood.get(ledger.origin((view.table.name, key)), {})
            for column in view.added:
                value = row[f"+{column}"]
                images = [
                    e.now or {} for k in (key, ledger.origin((view.table.name, key))) for e in told.get(k, ())
                ]
                images += self.refused.get(view.place, {}).get(key, ())
                named = {
                    v for image in images for c, v in image.items() if c in (column, f"{column} (added)")
                }
                if value != was.get(f"+{column}") and value is not None and value not in named:
                    yield f"  {view.table.name} {key} {column}: {value!r} has no place and is told nowhere"


def _keys(entry: Entry, view: View, key: Key) -> set[Key]:
    """The keys of the old schema under which this row is known; the product may know it by another one."""
    images = [image for image in (entry.before, entry.migrated, entry.now) if image is not None]
    whole = [image for image in images if all(image.get(column) for column in view.table.key)]
    return {tuple(str(image[column]) for column in view.table.key) for image in whole} or {key}


Oracle = Mapping[tuple[int, str], dict[Key, Row]]
"""By seed and table."""


def snapshot(n: Night, database: str, *, undone: bool, generated: bool = True) -> Oracle:
    """Every keyed table of every world: as the old schema has them, or as the application knows them now."""
    found: dict[tuple[int, str], dict[Key, Row]] = {}
    with open_session(n.dsn(database), NAME) as session:
        for world in n.worlds:
            for table in TABLES:
                if not table.key:
                    continue
                view = world.before[table.name] if undone else world.after[table.name]
                if undone and generated:
                    view = whole(world, table.name)
                found[world.seed, table.name] = rows(session, view)
    return found


def _told(session: Session) -> Told:
    found: dict[str, dict[Key, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for entry in parked.entries(session, INCIDENT):
        found[entry.relation][entry.key].append(entry)
    return found


def _refused(session: Session) -> dict[str, dict[Key, list[Row]]]:
    """Images of refused changes, by relation and key."""
    found: dict[str, dict[Key, list[Row]]] = defaultdict(lambda: defaultdict(list))
    if session.execute("SELECT to_regclass('backout.refused')").fetchone() == (None,):
        return found
    for relation, key, image in session.execute("SELECT rel, pk, image -> 'new' FROM backout.refused"):
        found[relation][tuple(str(value) for value in key.values())].append(image or {})
    return found


def _forms(session: Session, view: View, *states: Mapping[Key, Row]) -> dict[str, dict[Value, Value]]:
    found: dict[str, dict[Value, Value]] = {}
    for column, how in view.converted.items():
        values = sorted({row[column] for state in states for row in state.values()} - {None}, key=str)
        query = f"SELECT v, {how.forth.replace('{v}', 'v')} FROM unnest(%s::text[]) v"
        found[column] = dict(session.execute(query.encode(), (values,)).fetchall())
    return found
