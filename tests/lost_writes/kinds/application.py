"""The application after the migration, and the same application on a twin database without it: the oracle.

Every write goes to the live database first, in the form that the migrated schema asks for; what it
acknowledges is repeated on the twin in the old form. Where the twin cannot take it (its key was deleted by
the migration and is used again, a constraint is gone), the row is *diverged*: a person has to hear of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from tests.lost_writes.kinds.cast import Table, Value, place
from tests.lost_writes.kinds.migration import View
from tests.lost_writes.kinds.worlds import World

Key = tuple[str, ...]
Spot = tuple[str, Key]
"""Table (its name before) and key of a row."""
_FAMILIES = (
    ("people", "orders", "lines"),
    ("docs",),
    ("events",),
    ("counted",),
    ("seats",),
    ("old",),
    ("tokens",),
    ("watched",),
    ("log",),
)
"""Tables of one transaction; two open at the same time are of different families, so that none waits."""


_REFUSALS = (psycopg.IntegrityError, psycopg.DataError, psycopg.errors.GeneratedAlways)
"""What a database may answer to a write of these; anything else is a mistake in here."""


@dataclass
class Ledger:
    """What was acknowledged, in one world."""

    acknowledged: int = 0
    """Row changes, those of cascades and triggers among them."""
    touched: set[Spot] = field(default_factory=set)
    diverged: set[Spot] = field(default_factory=set)
    reborn: set[Spot] = field(default_factory=set)
    """Rows that were deleted, and others stored under their keys."""
    origins: dict[Spot, Key] = field(default_factory=dict)
    """Rows that were given another key, and the one that they had before."""
    made: set[tuple[str, str]] = field(default_factory=set)
    """Rows of tables that the migration made: table, key."""
    wrote: dict[Spot, set[str]] = field(default_factory=dict)
    """Columns that the application meant to write."""
    acts: Counter[str] = field(default_factory=Counter)
    """What it did, by name."""

    def add(self, other: Ledger) -> None:
        """What a transaction acknowledged, once it has committed."""
        self.acknowledged += other.acknowledged
        self.touched |= other.touched
        self.diverged |= other.diverged
        self.origins |= other.origins
        self.made |= other.made
        self.reborn |= other.reborn
        self.acts += other.acts
        for spot, columns in other.wrote.items():
            self.wrote.setdefault(spot, set()).update(columns)

    def origin(self, spot: Spot) -> Key:
        """The key of this row before the application moved it."""
        return self.origins.get(spot, spot[1])


@dataclass
class Client:
    """One session of the application, and its shadow on the twin."""

    live: psycopg.Connection
    twin: psycopg.Connection

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A savepoint on both sides. Raises what the live database refuses, after rolling both back."""
        with self.live.transaction(), self.twin.transaction():
            yield


class _TakenBack(Exception):
    """The client changes its mind."""


class Transaction:
    """Some writes of one client to one world, in one family of tables."""

    def __init__(self, client: Client, world: World, ledger: Ledger, views: dict[str, View]) -> None:
        self._client = client
        self._world = world
        self._views = views
        self._random = world.random
        self._all = ledger
        self._done = Ledger()
        """Of the steps so far."""
        self._mine = Ledger()
        """Of this step."""
        family = self._random.choice([f for f in _FAMILIES if any(views[name].place for name in f)])
        self._tables = [views[name] for name in family if views[name].place]
        self.family = family

    def steps(self) -> Iterator[None]:
        """The writes one by one; the transaction is over when this is."""
        try:
            with self._client.live.transaction(), self._client.twin.transaction():
                for _ in range(self._random.randint(1, 4)):
                    self._step()
                    yield
                if self._random.random() < 0.08:
                    raise _TakenBack
        except _TakenBack:
            return
        self._all.add(self._done)

    def _step(self) -> None:
        self._mine = Ledger()
        try:
            with self._client.attempt():
                self._act(self._random.choice(self._tables))
                if self._random.random() < 0.06:
                    raise _TakenBack
        except (*_REFUSALS, _TakenBack):
            return  # refused by the live database, or undone: nothing was acknowledged
        self._done.add(self._mine)

    def _act(self, view: View) -> None:
        if not view.table.key:
            self._insert(view)
            return
        acts: list[tuple[int, Callable[[View], None]]] = [
            (8, self._update),
            (3, self._save),
            (5, self._coincide),
            (5, self._insert),
            (3, self._use_again),
            (4, self._delete),
            (2, self._delete_and_store),
            (3, self._move),
            (2, self._several),
            (3, self._fill_added),
            (1, self._write_to_made),
            (2, self._exchange),
        ]
        act = self._random.choices([act for _, act in acts], [weight for weight, _ in acts])[0]
        with self._followed(view):
            act(view)
        if self._mine.acknowledged:
            self._mine.acts[act.__name__] += 1

    # what the application does

    def _update(self, view: View) -> None:
        key, column = self._some_key(view), self._some_column(view)
        if key and column:
            self._set(view, key, {column: self._value(view, column)})

    def _save(self, view: View) -> None:
        """As an object mapper does: every column is written, one has changed."""
        key, column = self._some_key(view), self._some_column(view)
        if key and column:
            self._set(view, key, {column: self._value(view, column)}, whole=True)

    def _coincide(self, view: View) -> None:
        """The very value that stands there already, and meant so."""
        key, column = self._some_key(view), self._some_column(view)
        if key and column and column != "note":  # whether its trigger fires hangs on what stood there
            self._set(view, key, {column: self._read(view, key, column)})

    def _several(self, view: View) -> None:
        column = self._some_column(view)
        for key in self._random.sample(keys := self._keys(view), min(3, len(keys))) if column else ():
            self._set(view, key, {str(column): self._value(view, str(column))})

    def _insert(self, view: View, key: Key | None = None) -> None:
        table, n = view.table, self._number()
        if key is None and not table.numbered:
            key = self._new_key(view, n)
        row: dict[str, Value] = dict(zip(table.key, key, strict=True)) if key else {}
        for column, (parent, _) in table.parents.items():
            if column not in row:
                known = self._some_key(self._views[parent]) if self._views[parent].place else None
                row[column] = known[0] if known else None
        row |= {c: self._value(view, c) for c in table.columns if c in view.names}
        added = {
            c: values(self._random, n) for c, values in view.added.items() if self._random.random() < 0.5
        }
        self._store(view, row, added)

    def _use_again(self, view: View) -> None:
        """A key that was there before, and is free now."""
        taken = set(self._keys(view))
        free = [key for key in _first_keys(view.table) if key not in taken]
        if free:
            self._insert(view, self._random.choice(free))

    def _delete(self, view: View) -> None:
        key = self._some_key(view)
        if key:
            self._remove(view, key)

    def _delete_and_store(self, view: View) -> None:
        key = self._some_key(view)
        if key:
            self._remove(view, key)
            self._insert(view, key)

    def _move(self, view: View) -> None:
        """Another key: a new one, or one that is free again."""
        key, taken = self._some_key(view), set(self._keys(view))
        free = [one for one in _first_keys(view.table) if one not in taken]
        if key is None:
            return
        new = self._new_key(view, self._number())
        if free and self._random.random() < 0.3:
            new = self._random.choice(free)
        self._give_key(view, key, new)

    def _fill_added(self, view: View) -> None:
        key = self._some_key(view)
        if key and view.added:
            column = self._random.choice(sorted(view.added))
            value = view.added[column](self._random, self._number())
            self._count(self._send(view.place, {column: value}, _where(view, key)), view, key)

    def _write_to_made(self, view: View) -> None:
        for name, columns in self._world.migration.made.items():
            if self._views is self._world.before:
                return
            row = {column: values(self._random, self._number()) for column, values in columns.items()}
            if self._client.live.execute(*_insert(f"{self._world.schema}.{name}", row)).rowcount:
                self._mine.acknowledged += 1
                self._mine.made.add((name, str(next(iter(row.values())))))

    def _exchange(self, view: View) -> None:
        """Two rows exchange a unique value."""
        if view.table.name != "seats" or len(keys := self._keys(view)) < 2:
            self._update(view)
            return
        one, other = self._random.sample(keys, 2)
        places = [self._read(view, key, "place") for key in (one, other)]
        for key, value in ((one, f"-{self._number()}"), (other, places[0]), (one, places[1])):
            self._set(view, key, {"place": value})

    # how it does it, on both sides

    def _set(self, view: View, key: Key, values: dict[str, Value], *, whole: bool = False) -> None:
        written = {view.names[column]: value for column, value in values.items()}
        same = [name for name in view.names.values() if name not in written] if whole else []
        if view.table.name == "orders":
            same = [name for name in same if name != "id"]
        hit = self._send(view.place, written, _where(view, key), same)
        if not self._count(hit, view, key, values):
            return
        old = {column: view.before(column, value) for column, value in values.items()}
        self._repeat(view, key, lambda: self._twin(view.table, old, key))

    def _store(self, view: View, row: dict[str, Value], added: dict[str, Value]) -> None:
        table, schema = view.table, self._world.schema
        new = {view.names[column]: value for column, value in row.items()} | added
        back = [sql.Identifier(view.names[column]) for column in table.key]
        query, values = _insert(view.place, new, back)
        made = self._client.live.execute(query, values).fetchone() if back else None
        if not back:
            self._client.live.execute(query, values)
        key = tuple(str(value) for value in made) if made else ()
        if (table.name, key) in self._all.touched | self._done.touched | self._mine.touched:
            self._mine.reborn.add((table.name, key))
        self._count(1, view, key, row)
        old = {column: view.before(column, value) for column, value in row.items()}
        old |= dict(zip(table.key, key, strict=True))
        self._repeat(
            view, key, lambda: self._client.twin.execute(*_insert(place(table, schema), old)).rowcount
        )

    def _remove(self, view: View, key: Key) -> None:
        children = [(child, one) for child, keys in self._children(view, key).items() for one in keys]
        self._mine.touched |= set(children)
        query = sql.SQL("DELETE FROM {} WHERE {}").format(sql.SQL(view.place), _where(view, key))
        if not self._count(self._client.live.execute(query).rowcount, view, key):
            return
        # Those of a diverged row have another parent on the twin, which does not take them along.
        for name, one in ((view.table.name, key), *children):
            if (name, one) not in self._diverged():
                there = self._world.before[name]
                self._client.twin.execute(
                    sql.SQL("DELETE FROM {} WHERE {}").format(sql.SQL(there.place), _where(there, one))
                )

    def _give_key(self, view: View, key: Key, new: Key) -> None:
        names = dict(zip((view.names[column] for column in view.table.key), new, strict=True))
        if not self._count(self._send(view.place, dict(names), _where(view, key)), view, key):
            return
        name = view.table.name
        if name == "events" and (int(key[0]) < 6) is not (int(new[0]) < 6):
            self._mine.acknowledged += 1  # another partition: a delete and an insert
        if (name, new) in self._all.touched | self._done.touched:
            self._mine.reborn.add((name, new))
        self._mine.touched.add((name, new))
        old = dict(zip(view.table.key, new, strict=True))
        if (name, key) in self._diverged():
            self._mine.diverged.add((name, new))
        self._repeat(view, key, lambda: self._twin(view.table, dict(old), key))
        if (name, key) in self._mine.diverged:
            self._mine.diverged.add((name, new))
        known = self._all.origins | self._done.origins | self._mine.origins
        self._mine.origins[name, new] = known.get((name, key), key)

    def _send(
        self, where: str, values: dict[str, Value], condition: sql.Composable, same: Sequence[str] = ()
    ) -> int:
        sets = [sql.SQL("{} = {}").format(sql.Identifier(c), sql.Literal(v)) for c, v in values.items()]
        sets += [sql.SQL("{0} = {0}").format(sql.Identifier(column)) for column in same]
        query = sql.SQL("UPDATE {} SET {} WHERE {}").format(
            sql.SQL(where), sql.SQL(", ").join(sets), condition
        )
        return self._client.live.execute(query).rowcount

    def _twin(self, table: Table, values: dict[str, Value], key: Key) -> int:
        there = View(table, place(table, self._world.schema), {column: column for column in table.key})
        sets = [sql.SQL("{} = {}").format(sql.Identifier(c), sql.Literal(v)) for c, v in values.items()]
        query = sql.SQL("UPDATE {} SET {} WHERE {}").format(
            sql.SQL(there.place), sql.SQL(", ").join(sets), _where(there, key)
        )
        return self._client.twin.execute(query).rowcount

    def _repeat(self, view: View, key: Key, act: Callable[[], int]) -> None:
        """On the twin, unless the row is another one there already; whatever it cannot take has diverged."""
        spot = view.table.name, key
        if spot in self._diverged():
            return
        try:
            with self._client.twin.transaction():
                done = act() == 1
        except _REFUSALS:
            done = False
        if not done:
            self._mine.diverged.add(spot)

    def _diverged(self) -> set[Spot]:
        return self._all.diverged | self._done.diverged | self._mine.diverged

    def _count(self, hit: int, view: View, key: Key, values: dict[str, Value] | None = None) -> bool:
        if hit:
            self._mine.acknowledged += hit
            self._mine.touched.add((view.table.name, key))
            self._mine.wrote.setdefault((view.table.name, key), set()).update(values or ())
        return bool(hit)

    @contextmanager
    def _followed(self, view: View) -> Iterator[None]:
        """Count what cascades and triggers write besides."""
        places = self._world.migration.follows(view.table.name)
        if self._views is not self._world.after:
            places = tuple(place(self._views[name].table, self._world.schema) for name in view.table.follows)
        had = [self._rows_of(where) for where in places]
        yield
        self._mine.acknowledged += sum(
            abs(self._rows_of(where) - number) for where, number in zip(places, had, strict=True)
        )

    def _rows_of(self, where: str) -> int:
        row = self._client.live.execute(f"SELECT count(*) FROM {where}".encode()).fetchone()
        assert row is not None
        return int(row[0])

    # what it finds

    def _children(self, view: View, key: Key) -> dict[str, list[Key]]:
        """Rows that go with this one."""
        found: dict[str, list[Key]] = {}
        if view.table.name == "people" and self._views["orders"].place:
            found["orders"] = self._keys(self._views["orders"], "person", key[0])
        orders = [key] if view.table.name == "orders" else found.get("orders", [])
        if self._views["lines"].place and orders:
            found["lines"] = [
                k for order in orders for k in self._keys(self._views["lines"], "order", order[0])
            ]
        return found

    def _keys(self, view: View, column: str = "", value: str = "") -> list[Key]:
        names = [sql.Identifier(view.names[column]) for column in view.table.key]
        query = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in names), sql.SQL(view.place)
        )
        if column:
            query += sql.SQL(" WHERE {} = {}").format(sql.Identifier(view.names[column]), sql.Literal(value))
        return sorted(tuple(row) for row in self._client.live.execute(query))

    def _some_key(self, view: View) -> Key | None:
        keys = self._keys(view)
        return self._random.choice(keys) if keys else None

    def _some_column(self, view: View) -> str | None:
        columns = [column for column in view.table.columns if column in view.names]
        return self._random.choice(columns) if columns else None

    def _value(self, view: View, column: str) -> Value:
        n = self._number()
        if column == "email" and self._random.random() < 0.3:
            n = self._random.randint(1, 12)  # registered before
        if column == "place" and self._random.random() < 0.2:
            n = self._random.randint(1, 12)
        return view.values(column)(self._random, n)

    def _read(self, view: View, key: Key, column: str) -> Value:
        query = sql.SQL("SELECT {}::text FROM {} WHERE {}").format(
            sql.Identifier(view.names[column]), sql.SQL(view.place), _where(view, key)
        )
        row = self._client.live.execute(query).fetchone()
        assert row is not None
        return None if row[0] is None else str(row[0])

    def _number(self) -> int:
        """Different every time."""
        self._world.counter[0] += 1
        return self._world.counter[0]

    def _new_key(self, view: View, n: int) -> Key:
        if not view.table.key:
            return ()
        if view.table.key_types == ("uuid",):
            return (f"00000000-0000-4000-8000-{n:012d}",)
        if view.table.name == "lines":
            order = self._some_key(self._views["orders"]) if self._views["orders"].place else None
            return (order[0] if order else "1", str(n))
        return (str(n),)


def _first_keys(table: Table) -> list[Key]:
    if table.key_types == ("uuid",):
        return [(f"00000000-0000-4000-8000-{n:012d}",) for n in range(1, 13)]
    return [(str(n), "1") if len(table.key) == 2 else (str(n),) for n in range(1, 13)]


def _where(view: View, key: Key) -> sql.Composable:
    parts = [
        sql.SQL("{} = {}").format(sql.Identifier(view.names[column]), sql.Literal(value))
        for column, value in zip(view.table.key, key, strict=True)
    ]
    return sql.SQL(" AND ").join(parts)


def _insert(
    where: str, row: dict[str, Value], back: Sequence[sql.Composable] = ()
) -> tuple[sql.Composed, list[Value]]:
    query = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
        sql.SQL(where),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.SQL("%s") for _ in row),
    )
    if back:
        query += sql.SQL(" RETURNING {}").format(sql.SQL(", ").join(back))
    return query, list(row.values())


def run(clients: Sequence[Client], world: World, ledger: Ledger, transactions: int, *, undone: bool) -> None:
    """The application writes for a while, two clients at a time."""
    views = world.before if undone else world.after
    for _ in range(transactions):
        first = Transaction(clients[0], world, ledger, views)
        steps = first.steps()
        next(steps)
        while True:  # another client commits while the first one's transaction is open
            second = Transaction(clients[1], world, ledger, views)
            if second.family != first.family:
                break
        for _step in second.steps():
            pass
        for _step in steps:
            pass
